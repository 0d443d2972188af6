// What is in shared memory when a kernel begins: nothing that it could rely on.
#pragma once

namespace software_gpu {

// Fills the shared memory of the kernels that are in one library with this one with the byte 0xFF, for this thread.
void forget_shared_memory(const void *kernel);

} // namespace software_gpu
