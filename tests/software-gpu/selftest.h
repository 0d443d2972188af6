// What the files of the self-test share: checks, and a device that is set up.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

namespace selftest {

// Where a check fails, the test goes on; the process fails at its end.
void check(bool good, const char *what, const char *file, int line);
#define CHECK(condition) ::selftest::check((condition), #condition, __FILE__, __LINE__)

// What `work` writes to stderr.
std::string stderr_of(const std::function<void()> &work);

// Whether `work` answers `status`, and says why on stderr.
template <class S> bool refuses(S status, const std::function<S()> &work) {
    S answer{};
    const std::string text = stderr_of([&] { answer = work(); });
    if (answer != status || text.find("software GPU: ") == std::string::npos) {
        fprintf(stderr, "answered %d, not %d, and wrote: %s\n", (int)answer, (int)status, text.c_str());
        return false;
    }
    return true;
}

// Whether `work` ends its process, not by returning, and names all of these on stderr.
bool dies(const std::function<void()> &work, const std::vector<std::string> &names);

// Device memory with these bytes, freed at the end of its scope.
class Memory {
  public:
    explicit Memory(size_t bytes);
    Memory(const void *from, size_t bytes);
    ~Memory();
    Memory(const Memory &) = delete;
    void *at(size_t bytes = 0) const { return (char *)address + bytes; }
    size_t size() const { return bytes; }
    template <class T> std::vector<T> read() const {
        std::vector<T> out(bytes / sizeof(T));
        copy(out.data());
        return out;
    }

  private:
    void *address;
    size_t bytes;
    void copy(void *to) const;
};
template <class T> Memory on_device(const std::vector<T> &values) {
    return Memory(values.data(), values.size() * sizeof(T));
}

// Numbers in [-1, 1), the same in each process.
std::vector<double> numbers(size_t n, unsigned seed);

// An f32, or a bfloat16, of each; and back.
std::vector<char> elements(const std::vector<double> &values, bool bf16);
std::vector<double> values(const std::vector<char> &elements, bool bf16);

// The largest |a - b| / (1 + |b|); infinity if one is NaN or the lengths differ.
double difference(const std::vector<double> &a, const std::vector<double> &b);

void test_libraries(); // selftest_libraries.cpp
void test_nccl();      // selftest_nccl.cpp

} // namespace selftest
