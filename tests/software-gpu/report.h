// What a real GPU or one of its libraries would refuse: one line on stderr says what and why, before the error code
// goes back to the caller, who often knows only the code.
#pragma once

#pragma GCC visibility push(default)
namespace software_gpu {

__attribute__((format(printf, 1, 2))) void report(const char *format, ...);

// For what a real GPU would answer by hanging or by wrong numbers: the process ends.
[[noreturn]] __attribute__((format(printf, 1, 2))) void give_up(const char *format, ...);

} // namespace software_gpu
#pragma GCC visibility pop
