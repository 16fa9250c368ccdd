#include "libmoe/base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>

#include "libmoe/base/error.h"

namespace moe {
namespace {

std::atomic<LogLevel> current_level{LogLevel::info};

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::trace: return spdlog::level::trace;
    case LogLevel::debug: return spdlog::level::debug;
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warn: return spdlog::level::warn;
    case LogLevel::error: return spdlog::level::err;
    case LogLevel::off: return spdlog::level::off;
  }
  return spdlog::level::info;
}

spdlog::logger& logger() {
  static spdlog::logger instance = [] {
    spdlog::logger l("moe", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    l.set_level(spdlog::level::trace);
    l.set_pattern("%^%l%$: %v");
    return l;
  }();
  return instance;
}

}  // namespace

void start_logging(const LogOptions& options) {
  current_level = options.level;
  if (options.file.empty()) return;
  try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file);
    sink->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l: %v");
    logger().sinks().push_back(std::move(sink));
    logger().flush_on(spdlog::level::info);
  } catch (const spdlog::spdlog_ex& e) {
    fail(ErrorCode::failed, "--log {}: {}; choose a file in a folder that can be written", options.file, e.what());
  }
}

LogLevel parse_log_level(const std::string& name) {
  constexpr std::pair<const char*, LogLevel> kLevels[] = {{"trace", LogLevel::trace}, {"debug", LogLevel::debug},
                                                          {"info", LogLevel::info},   {"warn", LogLevel::warn},
                                                          {"error", LogLevel::error}, {"off", LogLevel::off}};
  for (const auto& [text, level] : kLevels)
    if (name == text) return level;
  usage_error("--log-level: '{}' is none of trace, debug, info, warn, error, off", name);
}

LogLevel log_level() { return current_level; }
void log_message(LogLevel level, const std::string& message) { logger().log(to_spdlog(level), message); }

}  // namespace moe
