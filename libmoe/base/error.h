// Errors a caller or a file can cause, and checks for bugs.
#pragma once
#include <fmt/format.h>

#include <exception>
#include <string>
#include <utility>

namespace moe {

/// Also the process's exit code.
enum class ErrorCode { failed = 1, usage = 2, bad_input = 3, device = 4 };

/// The fault of a caller, a file or a device. The message names the file, dataset or option and the remedy.
class Error : public std::exception {
 public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}
  ErrorCode code() const { return code_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  ErrorCode code_;
  std::string message_;
};

template <class... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
[[noreturn]] void bad_input(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ErrorCode::bad_input, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
[[noreturn]] void usage_error(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ErrorCode::usage, fmt::format(format, std::forward<Args>(args)...));
}

[[noreturn]] void abort_on_bug(const char* file, int line, const char* condition, const std::string& message);

}  // namespace moe

/// Aborts when the program itself is wrong. Never for a caller's or a file's fault.
#define MOE_CHECK(condition, ...)                                                       \
  do {                                                                                  \
    if (!(condition)) [[unlikely]]                                                      \
      ::moe::abort_on_bug(__FILE__, __LINE__, #condition, fmt::format("" __VA_ARGS__)); \
  } while (0)
