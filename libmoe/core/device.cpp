#include "libmoe/core/device.h"

#include <bit>
#include <cstdlib>

#include "libmoe/base/error.h"
#include "libmoe/base/options.h"

namespace moe {
namespace {

void check(const Device& device, int status, const char* what) {
  if (status != 0)
    fail(ErrorCode::device, "device {}: {}: {}", device.name(), what, device.runtime().error_text(status));
}

// Four sizes per power of two: at most a quarter of a block is unused.
std::int64_t rounded_size(std::int64_t bytes) {
  if (bytes <= 256) return 256;
  const auto step = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(bytes)) / 4);
  return (bytes + step - 1) / step * step;
}

/// Gives kept blocks back, large ones first, until at most `most` bytes of them are left: batches of changing
/// sizes would otherwise leave blocks of every size behind.
void shrink(const kernels::RuntimeTable& runtime, std::map<std::int64_t, std::vector<void*>>& kept,
            std::int64_t most) {
  std::int64_t bytes = 0;
  for (const auto& [size, blocks] : kept) bytes += size * static_cast<std::int64_t>(blocks.size());
  for (auto it = kept.rbegin(); it != kept.rend() && bytes > most; ++it)
    for (; bytes > most && !it->second.empty(); it->second.pop_back(), bytes -= it->first)
      runtime.release(it->second.back(), static_cast<std::size_t>(it->first));
}

const kernels::KernelTable& chosen_cpu_kernels() {
  const char* wanted = std::getenv("MOE_CPU_ISA");
  if (wanted == nullptr || *wanted == 0) wanted = kernels::best_cpu_isa();
  if (std::string(wanted) == "ref") return kernels::ref_table();
  const kernels::KernelTable* table = kernels::cpu_table(wanted);
  if (table == nullptr)
    fail(ErrorCode::device,
         "MOE_CPU_ISA={}: this processor does not have it (the best here is {}; names are baseline, avx2, avx512)",
         wanted, kernels::best_cpu_isa());
  return *table;
}

}  // namespace

std::unique_ptr<Device> Device::open(const std::string& name) {
  if (name == "ref") return std::unique_ptr<Device>(new Device(name, kernels::ref_table(), kernels::cpu_runtime()));
  if (name != "cpu") fail(ErrorCode::device, "--device {}: there is no such device here; use cpu", name);
  return std::unique_ptr<Device>(new Device(name, chosen_cpu_kernels(), kernels::cpu_runtime()));
}

Device::Device(std::string name, const kernels::KernelTable& kernels, const kernels::RuntimeTable& runtime)
    : name_(std::move(name)), kernels_(&kernels), runtime_(&runtime) {
  if (kernels.version != kernels::kKernelTableVersion || runtime.version != kernels::kRuntimeTableVersion)
    fail(ErrorCode::device, "device {}: its kernels are of another version of this program; reinstall both", name_);
}

Device::~Device() { trim(); }

void* Device::allocate(std::int64_t bytes) {
  const std::int64_t size = rounded_size(bytes);
  std::lock_guard lock(mutex_);
  void* pointer = nullptr;
  if (auto it = kept_.find(size); it != kept_.end() && !it->second.empty()) {
    pointer = it->second.back();
    it->second.pop_back();
  } else if (shrink(*runtime_, kept_, std::max(use_.peak_bytes - use_.bytes_in_use - size, use_.peak_bytes / 8));
             runtime_->allocate(static_cast<std::size_t>(size), &pointer) != 0) {
    fail(ErrorCode::device, "device {}: out of memory: {} more wanted, {} in use; use a smaller batch or model", name_,
         format_bytes(size), format_bytes(use_.bytes_in_use));
  }
  use_.bytes_in_use += size;
  use_.peak_bytes = std::max(use_.peak_bytes, use_.bytes_in_use);
  return pointer;
}

void Device::release(void* pointer, std::int64_t bytes) {
  const std::int64_t size = rounded_size(bytes);
  std::lock_guard lock(mutex_);
  kept_[size].push_back(pointer);
  use_.bytes_in_use -= size;
}

MemoryUse Device::memory_use() const {
  std::lock_guard lock(mutex_);
  return use_;
}

void Device::trim() {
  std::lock_guard lock(mutex_);
  for (auto& [size, blocks] : kept_)
    for (void* block : blocks) runtime_->release(block, static_cast<std::size_t>(size));
  kept_.clear();
}

Stream::Stream(Device& device, int n_threads) : device_(&device), pool_(n_threads) {
  workspace_bytes_ = static_cast<std::int64_t>(kernels::kWorkspaceBytesPerThread) * pool_.n_threads();
  workspace_ = device.allocate(workspace_bytes_);
  context_ = {&pool_.parallel(), workspace_, kernels::kWorkspaceBytesPerThread, nullptr};
  check(device, device.runtime().stream_create(&context_.device_stream), "cannot make a stream");
}

Stream::~Stream() {
  device_->runtime().stream_synchronize(context_.device_stream);
  device_->runtime().stream_destroy(context_.device_stream);
  device_->release(workspace_, workspace_bytes_);
}

void Stream::copy(void* to, const void* from, std::int64_t bytes) {
  check(*device_, device_->runtime().copy(to, from, static_cast<std::size_t>(bytes), context_.device_stream), "copy");
}
void Stream::fill_zero(void* to, std::int64_t bytes) {
  check(*device_, device_->runtime().fill_zero(to, static_cast<std::size_t>(bytes), context_.device_stream), "fill");
}
void Stream::synchronize() {
  check(*device_, device_->runtime().stream_synchronize(context_.device_stream), "synchronize");
}

Event::Event(Device& device) : device_(&device) {
  check(device, device.runtime().event_create(&event_), "cannot make an event");
}
Event::~Event() { device_->runtime().event_destroy(event_); }
void Event::record(Stream& stream) {
  check(*device_, device_->runtime().event_record(event_, stream.context_.device_stream), "record event");
}
void Event::make_wait(Stream& stream) {
  check(*device_, device_->runtime().stream_wait_event(stream.context_.device_stream, event_), "wait for event");
}

}  // namespace moe
