#include "libmoe/train/report.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "libmoe/base/error.h"
#include "libmoe/base/log.h"
#include "libmoe/core/ceiling.h"
#include "libmoe/metrics/balance.h"

namespace moe {
namespace {

using Json = nlohmann::ordered_json;
constexpr std::chrono::seconds kRemeasure{20};

double ratio(double a, double b) {
  return b > 0 ? a / b : 0;
}

Json balance_json(std::span<const std::int64_t> tokens) {
  const metrics::Balance b = metrics::balance_of(tokens);
  return {{"max_over_mean", b.max_over_mean},
          {"p50", b.p50},
          {"p95", b.p95},
          {"dead", b.n_dead},
          {"spread", b.spread}};
}

Json layer_json(const LayerBalance& layer, const std::string& name,
                const std::vector<std::string>& languages) {
  Json j = balance_json(layer.expert_tokens);
  j["layer"] = name;
  j["dropped"] = ratio(static_cast<double>(layer.n_dropped), static_cast<double>(layer.n_choices));
  j["entropy"] = ratio(layer.entropy_sum, static_cast<double>(layer.n_tokens));
  j["expert_tokens"] = layer.expert_tokens;
  Json by_language = Json::object();
  for (std::size_t g = 0; g < layer.by_language.size() && g < languages.size(); ++g) {
    std::int64_t total = 0;
    for (std::int64_t n : layer.by_language[g]) total += n;
    if (total > 0) {
      by_language[languages[g]] = balance_json(layer.by_language[g]);
      by_language[languages[g]]["tokens"] = total;
    }
  }
  j["languages"] = std::move(by_language);
  return j;
}

// Of several ranks.
std::string idle_text(const std::vector<double>& idle) {
  if (idle.size() < 2) return "";
  const auto [least, most] = std::minmax_element(idle.begin(), idle.end());
  return fmt::format(" : idle {:.0f}-{:.0f}%", 100 * *least, 100 * *most);
}

}  // namespace

std::int64_t resident_bytes() {
  std::int64_t pages = 0, resident = 0;
  std::ifstream statm("/proc/self/statm");
  statm >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

std::string with_commas(std::int64_t n) {
  const std::string digits = std::to_string(n);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && digits[i - 1] != '-' && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

void Interval::add(const UpdateResult& u) {
  ++n_updates;
  sums.loss_sum += u.loss_sum;
  sums.nll_sum += u.nll_sum;
  sums.n_target_tokens += u.n_target_tokens;
  sums.n_source_tokens += u.n_source_tokens;
  sums.n_sentences += u.n_sentences;
  sums.aux_loss += u.aux_loss;
  sums.z_loss += u.z_loss;
  sums.gradient_norm += u.gradient_norm;
  add_balance(u.balance, sums.balance);
  sums.seconds += u.seconds;
  sums.busy_seconds.resize(u.busy_seconds.size());
  for (std::size_t r = 0; r < u.busy_seconds.size(); ++r) sums.busy_seconds[r] += u.busy_seconds[r];
}

std::vector<double> Interval::idle() const {
  std::vector<double> idle;
  for (const double busy : sums.busy_seconds) idle.push_back(std::max(0.0, 1 - ratio(busy, sums.seconds)));
  return idle;
}

Reporter::Reporter(Stream& stream, const std::string& json_path, const ModelConfig& config,
                   std::vector<std::string> languages, std::vector<std::string> layer_names,
                   std::int64_t n_epoch_sentences, int n_ranks)
    : stream_(stream),
      json_path_(json_path),
      footprint_(footprint_of(config)),
      languages_(std::move(languages)),
      layer_names_(std::move(layer_names)),
      n_epoch_sentences_(n_epoch_sentences),
      n_ranks_(n_ranks) {
  if (json_path.empty()) return;
  json_.reset(std::fopen(json_path.c_str(), "a"));
  if (!json_) fail(ErrorCode::failed, "--log-json: cannot write {}: {}", json_path, std::strerror(errno));
  measure_ceiling();
}

void Reporter::measure_ceiling() {
  ceiling_gflops_ = std::max(ceiling_gflops_, n_ranks_ * measure_multiply_gflops(stream_));
  measured_ = std::chrono::steady_clock::now();
}

void Reporter::write(const std::string& json) {
  if (!json_) return;
  const bool put = std::fputs((json + "\n").c_str(), json_.get()) >= 0;
  if (put && std::fflush(json_.get()) == 0) return;
  log_warn("--log-json: cannot write {}: {}. Nothing more is written there, the run goes on", json_path_,
           std::strerror(errno));
  json_.reset();
}

std::int64_t Reporter::epoch(const RunState& state) const {
  return 1 + state.n_sentences / n_epoch_sentences_;
}

void Reporter::start(const RunState& state, const Footprint& f, const std::string& data) {
  write(Json{{"event", "start"},
             {"data", data},
             {"update", state.update},
             {"parameters", f.n_parameters},
             {"expert_parameters", f.n_expert_parameters},
             {"weight_bytes", f.weight_bytes},
             {"gradient_bytes", f.gradient_bytes},
             {"moment_bytes", f.moment_bytes},
             {"activation_bytes", f.activation_bytes},
             {"epoch_sentences", n_epoch_sentences_},
             {"ceiling_gflops", ceiling_gflops_}}
            .dump());
}

void Reporter::interval(const Interval& interval, const RunState& state, double rate) {
  const UpdateResult& s = interval.sums;
  const auto n_target = static_cast<double>(s.n_target_tokens),
             n_source = static_cast<double>(s.n_source_tokens);
  const auto n_updates = static_cast<double>(interval.n_updates);
  const double cost = ratio(s.loss_sum, n_target),
               tokens_per_s = ratio(n_source + n_target, interval.seconds);
  const double norm = ratio(s.gradient_norm, n_updates);
  log_info(
      "Ep. {} : Up. {} : Sen. {} : Cost {:.4f} : Time {:.2f}s : {:.2f} words/s : gNorm {:.4f} : L.r. "
      "{:.4e}{}",
      epoch(state), state.update, with_commas(state.n_sentences % n_epoch_sentences_), cost, interval.seconds,
      tokens_per_s, norm, rate, idle_text(interval.idle()));
  if (!json_) return;
  if (std::chrono::steady_clock::now() - measured_ > kRemeasure) measure_ceiling();
  const double flops =
      3 * (n_source * footprint_.flops_per_source_token + n_target * footprint_.flops_per_target_token);
  const MemoryUse memory = stream_.device().memory_use();
  Json j{{"event", "update"},
         {"epoch", epoch(state)},
         {"update", state.update},
         {"sentences", state.n_sentences},
         {"tokens", state.n_tokens},
         {"seconds", state.seconds},
         {"loss", cost},
         {"nll", ratio(s.nll_sum, n_target)},
         {"aux_loss", ratio(s.aux_loss, n_updates)},
         {"z_loss", ratio(s.z_loss, n_updates)},
         {"gradient_norm", norm},
         {"learning_rate", rate},
         {"tokens_per_s", tokens_per_s},
         {"idle", interval.idle()},
         {"target_tokens_per_s", ratio(n_target, interval.seconds)},
         {"mfu", ratio(flops, interval.seconds * ceiling_gflops_ * 1e9)},
         {"ceiling_gflops", ceiling_gflops_},
         {"device_bytes", memory.bytes_in_use},
         {"device_peak_bytes", memory.peak_bytes},
         {"resident_bytes", resident_bytes()}};
  Json layers = Json::array();
  for (std::size_t l = 0; l < s.balance.size(); ++l)
    layers.push_back(layer_json(s.balance[l], layer_names_[l], languages_));
  j["layers"] = std::move(layers);
  write(j.dump());
}

void Reporter::validation(const ValidationReport& report, const RunState& state, const std::string& verdict) {
  const std::string scores =
      report.decoded ? fmt::format(" : BLEU {:.2f} : chrF++ {:.2f}", report.bleu, report.chrf) : "";
  log_info("[valid] Ep. {} : Up. {} : loss {:.4f} : nll {:.4f}{} : {}", epoch(state), state.update,
           report.loss, report.nll, scores,
           verdict.empty() ? fmt::format("stalled {} times", state.n_stalled) : verdict);
  Json directions = Json::array();
  for (const DirectionScore& d : report.directions) {
    const std::string decoded =
        d.n_decoded > 0 ? fmt::format(" : BLEU {:.2f} : chrF++ {:.2f}", d.bleu, d.chrf) : "";
    if (report.directions.size() > 1) log_info("[valid]   {} : loss {:.4f}{}", d.name, d.loss, decoded);
    Json j{{"direction", d.name}, {"loss", d.loss}, {"nll", d.nll}, {"tokens", d.n_tokens}};
    if (d.n_decoded > 0) {
      j["sentences"] = d.n_decoded;
      j["bleu"] = d.bleu;
      j["chrf"] = d.chrf;
    }
    directions.push_back(std::move(j));
  }
  Json j{{"event", "valid"},         {"epoch", epoch(state)},    {"update", state.update},
         {"tokens", state.n_tokens}, {"seconds", state.seconds}, {"loss", report.loss},
         {"nll", report.nll},        {"best", !verdict.empty()}, {"stalled", state.n_stalled}};
  if (report.decoded) {
    j["bleu"] = report.bleu;
    j["chrf"] = report.chrf;
  }
  j["directions"] = std::move(directions);
  write(j.dump());
}

void Reporter::saved(const SaveReport& report, const std::string& path) {
  Json j{{"event", "save"},
         {"update", report.update},
         {"file", path},
         {"bytes", report.n_bytes},
         {"stall_seconds", report.stall_seconds},
         {"write_seconds", report.write_seconds}};
  if (report.error.empty()) {
    log_info("[save] Up. {} : {} : {} : stalled {:.3f}s : written in {:.2f}s", report.update, path,
             format_bytes(report.n_bytes), report.stall_seconds, report.write_seconds);
  } else {
    j["error"] = report.error;
    log_warn("update {} is not saved: {}. What was saved before is still there", report.update, report.error);
  }
  write(j.dump());
}

void Reporter::end(const RunState& state, const std::string& reason) {
  write(Json{{"event", "end"}, {"update", state.update}, {"seconds", state.seconds}, {"reason", reason}}
            .dump());
}

}  // namespace moe
