#include "libmoe/prep/external_sort.h"

#include <algorithm>

#include "libmoe/base/error.h"

namespace moe::prep {
namespace {

constexpr std::size_t kMergeBytes = 32 << 20;  // for the buffers of all runs

}  // namespace

ExternalSort::ExternalSort(std::string folder, std::int64_t memory_bytes)
    : folder_(std::move(folder)),
      capacity_(std::max<std::size_t>(1, static_cast<std::size_t>(memory_bytes) / sizeof(KeyValue))) {}

void ExternalSort::add(KeyValue record) {
  if (memory_.size() == capacity_) spill();
  memory_.push_back(record);
  ++size_;
}

void ExternalSort::finish() {
  if (file_) {
    spill();
    memory_.shrink_to_fit();
  } else {
    std::sort(memory_.begin(), memory_.end());
  }
}

void ExternalSort::spill() {
  if (!file_) file_ = std::make_unique<TemporaryFile>(folder_);
  std::sort(memory_.begin(), memory_.end());
  file_->write(std::as_bytes(std::span(memory_)));
  run_ends_.push_back(file_->size());
  memory_.clear();
}

ExternalSort::Cursor::Cursor(const ExternalSort& sorter) : sorter_(sorter) {
  std::int64_t begin = 0;
  for (const std::int64_t end : sorter.run_ends_) {
    runs_.push_back({begin, end, {}, 0});
    begin = end;
  }
  for (std::size_t r = 0; r < runs_.size(); ++r)
    if (refill(runs_[r])) heap_.push_back({runs_[r].buffer[runs_[r].used++], r});
  std::make_heap(heap_.begin(), heap_.end(),
                 [](const Head& a, const Head& b) { return a.record > b.record; });
}

bool ExternalSort::Cursor::refill(Run& run) {
  const std::size_t room = std::max<std::size_t>(64, kMergeBytes / sizeof(KeyValue) / runs_.size());
  const auto left = static_cast<std::size_t>(run.end - run.at) / sizeof(KeyValue);
  run.buffer.resize(std::min({room, left, std::size_t{1} << 16}));
  run.used = 0;
  const auto bytes = std::as_writable_bytes(std::span(run.buffer));
  MOE_CHECK(sorter_.file_->read(run.at, bytes) == bytes.size());
  run.at += static_cast<std::int64_t>(bytes.size());
  return !run.buffer.empty();
}

bool ExternalSort::Cursor::next(KeyValue& record) {
  if (!sorter_.file_) {
    if (memory_at_ == sorter_.memory_.size()) return false;
    record = sorter_.memory_[memory_at_++];
    return true;
  }
  if (heap_.empty()) return false;
  const auto later = [](const Head& a, const Head& b) { return a.record > b.record; };
  std::pop_heap(heap_.begin(), heap_.end(), later);
  Head& head = heap_.back();
  record = head.record;
  Run& run = runs_[head.run];
  if (run.used < run.buffer.size() || refill(run)) {
    head.record = run.buffer[run.used++];
    std::push_heap(heap_.begin(), heap_.end(), later);
  } else {
    heap_.pop_back();
  }
  return true;
}

}  // namespace moe::prep
