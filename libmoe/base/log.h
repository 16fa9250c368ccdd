// Messages for people, on stderr (and a log file): stdout is data only.
#pragma once
#include <fmt/format.h>

#include <string>
#include <utility>

namespace moe {

enum class LogLevel { trace, debug, info, warn, error, off };

struct LogOptions {
  LogLevel level = LogLevel::info;
  std::string file;  // also written there when not empty
  std::string
      program{};  // warnings and errors begin with "PROGRAM: " when not empty; plain information never does
};
/// At the start of a program, before other threads; a second call replaces the first. Throws Error when the
/// file cannot be opened.
void start_logging(const LogOptions& options);
/// Nothing more is written to the file.
void leave_log_file();
LogLevel parse_log_level(const std::string& name);
LogLevel log_level();

/// Thread-safe.
void log_message(LogLevel level, const std::string& message);

template <class... Args>
void log_info(fmt::format_string<Args...> f, Args&&... args) {
  if (log_level() <= LogLevel::info) log_message(LogLevel::info, fmt::format(f, std::forward<Args>(args)...));
}
template <class... Args>
void log_warn(fmt::format_string<Args...> f, Args&&... args) {
  if (log_level() <= LogLevel::warn) log_message(LogLevel::warn, fmt::format(f, std::forward<Args>(args)...));
}
template <class... Args>
void log_debug(fmt::format_string<Args...> f, Args&&... args) {
  if (log_level() <= LogLevel::debug)
    log_message(LogLevel::debug, fmt::format(f, std::forward<Args>(args)...));
}

}  // namespace moe
