#include "libmoe/model/checkpoint_saver.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <new>
#include <sstream>

#include "libmoe/base/error.h"
#include "libmoe/base/files.h"
#include "libmoe/model/checkpoint_format.h"
#include "libmoe/model/checkpoint_parts.h"
#include "libmoe/model/named_parts.h"

namespace moe {
namespace {

using Clock = std::chrono::steady_clock;
namespace fs = std::filesystem;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::int64_t file_bytes(const std::string& path) {
  std::error_code error;
  const auto n = fs::file_size(path, error);
  return error ? 0 : static_cast<std::int64_t>(n);
}

/// Adds the time until it ends.
class Stall {
 public:
  explicit Stall(double& seconds) : seconds_(seconds) {}
  ~Stall() { seconds_ += seconds_since(begin_); }

 private:
  double& seconds_;
  Clock::time_point begin_ = Clock::now();
};

}  // namespace

struct CheckpointSaver::Job {
  SaveRequest request;
  std::vector<std::string> tags;  // of each target, with several ranks
  std::vector<TensorShare> shares;
  std::vector<HostCounts> steps;
  std::vector<std::uint64_t> digests;                   // of this rank's part of each target
  std::vector<std::vector<std::uint64_t>> all_digests;  // [rank][target]
  bool indexing = false;                                // all parts are on the disk
  std::atomic<bool> done = false;                       // the thread's work of this phase
  std::string error;
  std::int64_t n_bytes = 0;  // of this rank; then of all
  std::size_t n_in_place = 0;
  double stall_seconds = 0, write_seconds = 0;
  Clock::time_point begin = Clock::now();
};

CheckpointSaver::CheckpointSaver(Stream& stream, const Transformer& model, const Adam& adam,
                                 SaveHeader header)
    : stream_(stream), model_(model), adam_(adam), header_(std::move(header)) {}

CheckpointSaver::~CheckpointSaver() {
  if (thread_.joinable()) thread_.join();
}

void CheckpointSaver::run(void (CheckpointSaver::*work)()) {
  job_->done = false;
  thread_ = std::thread([this, work] {
    Job& job = *job_;
    try {
      (this->*work)();
    } catch (const Error& e) {
      job.error = e.what();
    } catch (const std::bad_alloc&) {
      job.error = "no memory left to write the checkpoint";
    }
    job.write_seconds = seconds_since(job.begin);
    job.done = true;
  });
}

void CheckpointSaver::start(const SaveRequest& request) {
  MOE_CHECK(!busy() && !request.targets.empty());
  job_ = std::make_unique<Job>();
  const Stall stall(job_->stall_seconds);
  job_->request = request;
  for (SaveTarget& target : job_->request.targets) target.path = follow_links(target.path);
  bool with_training = false;
  for (const SaveTarget& target : request.targets) with_training |= target.with_training;
  job_->shares = shares_of(model_);
  if (world().size() > 1) {
    if (boxes_.empty()) boxes_ = gather_boxes(world(), job_->shares);
    std::string tags;  // one per line
    if (world().rank() == 0)
      for (std::size_t t = 0; t < request.targets.size(); ++t) tags += new_tag(request.update) + "\n";
    world().broadcast(tags, 0);
    std::istringstream lines(tags);
    for (std::string tag; std::getline(lines, tag);) job_->tags.push_back(tag);
  }
  if (with_training) job_->steps = gather_steps(world(), model_.parameters(), adam_);
  copy_shares(stream_, model_.parameters(), with_training ? &adam_ : nullptr, job_->shares);
  run(&CheckpointSaver::write_files);
}

void CheckpointSaver::write_files() {
  const auto& targets = job_->request.targets;
  for (std::size_t t = 0; t < targets.size(); ++t) {
    const bool last = t + 1 == targets.size();
    if (world().size() == 1)
      write_whole_file(targets[t], last);
    else
      write_part_file(t, last);
  }
}

void CheckpointSaver::write_header(h5::Writer& writer) const {
  for (const auto& input : header_.inputs) writer.add_input(input);
  write_checkpoint_header(writer, model_.config(), *header_.vocabulary, header_.expert_ids);
}

void CheckpointSaver::write_whole_file(const SaveTarget& target, bool last) {
  Job& job = *job_;
  h5::Writer writer(target.path, kWholeCheckpointKind, true);
  write_header(writer);
  std::int64_t index = 0;
  for (TensorShare& share : job.shares) {
    write_whole(writer, kValueShare, share, last);
    writer.attribute(kValueShare.prefix + share.parameter->spec.name, "index", index++);
  }
  if (target.with_training) {
    writer.write_text(kStateDataset, job.request.state);
    index = 0;
    for (TensorShare& share : job.shares)
      for (const ShareKind& kind : kMomentShares) {
        write_whole(writer, kind, share, last);
        writer.attribute(kind.prefix + share.parameter->spec.name, "index", index++);
      }
    write_arrays(writer, kStepPrefix, job.steps);
  }
  const std::vector<std::string> former = parts_of(target.path);
  writer.commit();
  remember_parts(target.path, {});
  remove_unnamed(target.path, former);
  job.n_bytes += file_bytes(target.path);
  ++job.n_in_place;
}

void CheckpointSaver::write_part_file(std::size_t index, bool last) {
  Job& job = *job_;
  const SaveTarget& target = job.request.targets[index];
  const std::string path = part_path(target.path, job.tags[index], world().rank());
  h5::Writer writer(path, h5::kPartKind, false);
  for (TensorShare& share : job.shares) write_share(writer, kValueShare, share, last);
  for (TensorShare& share : job.shares)
    for (const ShareKind& kind : kMomentShares)
      if (target.with_training) write_share(writer, kind, share, last);
  job.digests.push_back(writer.digest());
  writer.commit();
  job.n_bytes += file_bytes(path);
}

void CheckpointSaver::write_indexes() {
  for (std::size_t t = 0; t < job_->request.targets.size(); ++t) {
    try {
      write_index(t);
    } catch (const Error&) {
      remove_parts(t);
      throw;
    }
  }
}

void CheckpointSaver::write_index(std::size_t index) {
  Job& job = *job_;
  const SaveTarget& target = job.request.targets[index];
  std::vector<std::string> names;
  for (int r = 0; r < world().size(); ++r) names.push_back(part_name(target.path, job.tags[index], r));
  h5::Writer writer(target.path, kCheckpointKind, true);
  write_header(writer);
  const auto write_mapped = [&](const ShareKind& kind, std::size_t i, std::int64_t place) {
    const Parameter& p = *job.shares[i].parameter;
    const std::string dataset = kind.prefix + p.spec.name;
    const std::vector<std::int64_t> dims = p.spec.shape().dims();
    std::vector<h5::Piece> pieces;
    for (std::size_t r = 0; r < names.size(); ++r) {
      std::int64_t first = 0;
      for (const Box& box : boxes_[r][i]) {
        pieces.push_back({names[r], dataset, first, box});
        first += box.n_elements();
      }
    }
    writer.write_mapped(dataset, h5::Type::f32, dims, pieces);
    writer.attribute(dataset, "index", place);
  };
  std::int64_t place = 0;
  for (std::size_t i = 0; i < job.shares.size(); ++i) write_mapped(kValueShare, i, place++);
  if (target.with_training) {
    writer.write_text(kStateDataset, job.request.state);
    place = 0;
    for (std::size_t i = 0; i < job.shares.size(); ++i)
      for (const ShareKind& kind : kMomentShares) write_mapped(kind, i, place++);
    write_arrays(writer, kStepPrefix, job.steps);
  }
  for (std::size_t r = 0; r < names.size(); ++r) {
    if (const std::string part = part_path(target.path, job.tags[index], static_cast<int>(r));
        !fs::exists(part))
      fail(ErrorCode::failed,
           "{}: {} of rank {} is not to be seen by rank 0; write to a disk that all ranks share", target.path,
           part, r);
    writer.add_part(names[r], job.all_digests[r][index]);
  }
  const std::vector<std::string> former = parts_of(target.path);
  writer.commit();
  remember_parts(target.path, names);
  remove_unnamed(target.path, former);
  job.n_bytes += file_bytes(target.path);
  ++job.n_in_place;
}

/// Of this save, those of the targets from `first` on; unless an index has come into place all the same.
void CheckpointSaver::remove_parts(std::size_t first) {
  const Job& job = *job_;
  for (std::size_t t = first; t < job.request.targets.size(); ++t) {
    const std::string& path = job.request.targets[t].path;
    std::vector<std::string> names;
    for (int r = 0; r < world().size(); ++r) names.push_back(part_name(path, job.tags[t], r));
    remove_unnamed(path, names);
  }
}

bool CheckpointSaver::all_done() {
  std::array<std::int64_t, 1> working{job_->done ? 0 : 1};
  if (world().size() > 1) world().all_reduce(Reduce::max, std::span<std::int64_t>(working));
  return working[0] == 0;
}

/// Whether a rank has failed; then all have the error of the lowest of them.
bool CheckpointSaver::learn_error() {
  const std::int64_t n = world().size();
  std::array<std::int64_t, 1> key{job_->error.empty() ? 0 : n - world().rank()};
  if (n > 1) world().all_reduce(Reduce::max, std::span<std::int64_t>(key));
  if (key[0] == 0) return false;
  if (n > 1) world().broadcast(job_->error, static_cast<int>(n - key[0]));
  return true;
}

std::optional<SaveReport> CheckpointSaver::end_phase() {
  if (thread_.joinable()) thread_.join();
  Job& job = *job_;
  const auto n_ranks = static_cast<std::size_t>(world().size());
  if (learn_error()) {
    if (n_ranks > 1 && !job.indexing && world().rank() == 0) remove_parts(0);
    return report();
  }
  if (n_ranks == 1 || job.indexing) return report();
  std::vector<std::int64_t> mine(job.digests.begin(), job.digests.end()), all(mine.size() * n_ranks);
  world().all_gather(mine, all);
  for (std::size_t r = 0; r < n_ranks; ++r) {
    const auto first = all.begin() + static_cast<std::ptrdiff_t>(r * mine.size());
    job.all_digests.emplace_back(first, first + static_cast<std::ptrdiff_t>(mine.size()));
  }
  job.indexing = true;
  if (world().rank() == 0) run(&CheckpointSaver::write_indexes);
  return std::nullopt;
}

SaveReport CheckpointSaver::report() {
  Job& job = *job_;
  std::array<std::int64_t, 2> sums{job.n_bytes, static_cast<std::int64_t>(job.n_in_place)};
  if (world().size() > 1) world().all_reduce(Reduce::sum, std::span<std::int64_t>(sums));
  SaveReport result{
      job.request.update, sums[0], job.stall_seconds, job.write_seconds, static_cast<std::size_t>(sums[1]),
      job.error};
  job_.reset();
  return result;
}

std::optional<SaveReport> CheckpointSaver::poll() {
  if (!busy()) return std::nullopt;
  double stall = 0;
  std::optional<SaveReport> ended;
  {
    const Stall clock(stall);
    if (all_done()) ended = end_phase();
  }
  if (ended)
    ended->stall_seconds += stall;
  else
    job_->stall_seconds += stall;
  return ended;
}

SaveReport CheckpointSaver::wait() {
  MOE_CHECK(busy());
  for (;;) {
    const Clock::time_point begin = Clock::now();
    if (thread_.joinable()) {
      thread_.join();
      job_->stall_seconds += seconds_since(begin);
    }
    if (std::optional<SaveReport> ended = poll()) return *ended;
  }
}

}  // namespace moe
