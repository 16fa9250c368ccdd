#include "libmoe/base/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>

#include "libmoe/base/error.h"
#include "libmoe/base/progress.h"

namespace moe {
namespace {

std::atomic<LogLevel> current_level{LogLevel::info};

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::trace:
      return spdlog::level::trace;
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warn:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
    case LogLevel::off:
      return spdlog::level::off;
  }
  return spdlog::level::info;
}

// Information as it is; "program: warning: " before what deserves a look.
class Prefix : public spdlog::custom_flag_formatter {
 public:
  explicit Prefix(std::string program) : program_(std::move(program)) {}
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
    if (message.level == spdlog::level::info) return;
    std::string text = program_.empty() || message.level < spdlog::level::warn ? "" : program_ + ": ";
    text += spdlog::level::to_string_view(message.level).data();
    text += ": ";
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<Prefix>(program_); }

 private:
  std::string program_;
};

void set_stderr_pattern(spdlog::sinks::sink& sink, const std::string& program) {
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<Prefix>('*', program).set_pattern("%^%*%$%v");
  sink.set_formatter(std::move(formatter));
}

/// The file of --log. When it cannot be written any more, one warning says so, and nothing more goes there.
class FileSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit FileSink(const std::string& path) : path_(path), file_(std::fopen(path.c_str(), "a")) {
    if (!file_)
      fail(ErrorCode::failed, "--log {}: {}; choose a file in a folder that can be written", path,
           std::strerror(errno));
    set_pattern_("%Y-%m-%dT%H:%M:%S.%e %l: %v");
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    if (std::fwrite(line.data(), 1, line.size(), file_.get()) == line.size() && std::fflush(file_.get()) == 0)
      return;
    const int error = errno;
    set_level(spdlog::level::off);  // before the warning, which would come here too
    log_warn("--log: cannot write {}: {}. Nothing more is written there, the work goes on", path_,
             std::strerror(error));
  }
  void flush_() override {}

 private:
  struct Close {
    void operator()(std::FILE* f) const { std::fclose(f); }
  };
  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
};

spdlog::logger& logger() {
  static spdlog::logger& instance = []() -> spdlog::logger& {
    // Never destroyed: other threads may have something to say while the process ends.
    auto* l = new spdlog::logger("moe", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    l->set_level(spdlog::level::trace);
    set_stderr_pattern(*l->sinks().front(), "");
    return *l;
  }();
  return instance;
}

}  // namespace

void start_logging(const LogOptions& options) {
  current_level = options.level;
  leave_log_file();
  set_stderr_pattern(*logger().sinks().front(), options.program);
  if (options.file.empty()) return;
  logger().sinks().push_back(std::make_shared<FileSink>(options.file));
}

void leave_log_file() {
  logger().sinks().resize(1);
}

LogLevel parse_log_level(const std::string& name) {
  constexpr std::pair<const char*, LogLevel> kLevels[] = {
      {"trace", LogLevel::trace}, {"debug", LogLevel::debug}, {"info", LogLevel::info},
      {"warn", LogLevel::warn},   {"error", LogLevel::error}, {"off", LogLevel::off}};
  for (const auto& [text, level] : kLevels)
    if (name == text) return level;
  usage_error("--log-level: '{}' is none of trace, debug, info, warn, error, off", name);
}

LogLevel log_level() {
  return current_level;
}
void log_message(LogLevel level, const std::string& message) {
  clear_progress_line();
  logger().log(to_spdlog(level), message);
}

}  // namespace moe
