#include "libmoe/core/device.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>

#include "libmoe/base/error.h"
#include "libmoe/base/options.h"
#include "libmoe/base/threads.h"

namespace moe {
namespace {

void check(const Device& device, int status, const char* what) {
  if (status != 0)
    fail(ErrorCode::device, "device {}: {}: {}", device.name(), what, device.runtime().error_text(status));
}

std::mutex isa_mutex;
std::string isa_to_use;  // empty: nobody said

const kernels::KernelTable& chosen_cpu_kernels() {
  const std::string wanted = Device::cpu_isa();
  if (wanted == "ref") return kernels::ref_table();
  const kernels::KernelTable* table = kernels::cpu_table(wanted.c_str());
  if (table == nullptr)
    fail(ErrorCode::device,
         "MOE_CPU_ISA={}: this processor does not have it (the best here is {}; names are {})", wanted,
         kernels::best_cpu_isa(), fmt::join(kernels::kCpuIsas, ", "));
  return *table;
}

}  // namespace

std::string Device::cpu_isa() {
  const std::lock_guard lock(isa_mutex);
  if (!isa_to_use.empty()) return isa_to_use;
  const char* wanted = std::getenv("MOE_CPU_ISA");
  return wanted != nullptr && *wanted != 0 ? wanted : kernels::best_cpu_isa();
}

void Device::use_cpu_isa(const std::string& isa) {
  const std::lock_guard lock(isa_mutex);
  isa_to_use = isa;
}

std::unique_ptr<Device> Device::open(const std::string& name) {
  if (name == "ref") return std::make_unique<Device>(name, kernels::ref_table(), kernels::cpu_runtime());
  if (name != "cpu") fail(ErrorCode::device, "there is no device {} here; use cpu", name);
  return std::make_unique<Device>(name, chosen_cpu_kernels(), kernels::cpu_runtime());
}

Device::Device(std::string name, const kernels::KernelTable& kernels, const kernels::RuntimeTable& runtime)
    : name_(std::move(name)), kernels_(&kernels), runtime_(&runtime), arena_(runtime) {
  if (kernels.version != kernels::kKernelTableVersion || runtime.version != kernels::kRuntimeTableVersion)
    fail(ErrorCode::device, "device {}: its kernels are of another version of this program; reinstall both",
         name_);
}

void* Device::allocate(std::int64_t bytes) {
  std::lock_guard lock(mutex_);
  void* pointer = nullptr;
  if (arena_.allocate(bytes, &pointer) != 0)
    fail(ErrorCode::device,
         "device {}: out of memory: {} more wanted, {} in use; use a smaller batch or model", name_,
         format_bytes(bytes), format_bytes(use_.bytes_in_use));
  use_.add(Arena::size_of_block(bytes));
  return pointer;
}

void Device::release(void* pointer, std::int64_t bytes) {
  std::lock_guard lock(mutex_);
  arena_.release(pointer, bytes);
  use_.add(-Arena::size_of_block(bytes));
}

void Device::count(std::int64_t bytes) {
  std::lock_guard lock(mutex_);
  use_.add(bytes);
}

MemoryUse Device::memory_use() const {
  std::lock_guard lock(mutex_);
  return use_;
}

void Device::trim() {
  std::lock_guard lock(mutex_);
  arena_.trim();
}

Stream::Stream(Device& device, int n_threads)
    : device_(&device), n_threads_(n_threads > 0 ? n_threads : available_processors()) {
  const kernels::RuntimeTable& runtime = device.runtime();
  check(device, runtime.stream_create(runtime.device, n_threads_, &context_.stream), "cannot make a stream");
  bytes_ = static_cast<std::int64_t>(runtime.stream_bytes(runtime.device, n_threads_));
  device.count(bytes_);
}

Stream::~Stream() {
  device_->runtime().stream_synchronize(context_.stream);
  device_->runtime().stream_destroy(context_.stream);
  device_->count(-bytes_);
}

void Stream::copy(void* to, const void* from, std::int64_t bytes) {
  check(*device_, device_->runtime().copy(to, from, static_cast<std::size_t>(bytes), context_.stream),
        "copy");
}
void Stream::fill_zero(void* to, std::int64_t bytes) {
  check(*device_, device_->runtime().fill_zero(to, static_cast<std::size_t>(bytes), context_.stream), "fill");
}
void Stream::synchronize() {
  check(*device_, device_->runtime().stream_synchronize(context_.stream), "synchronize");
}

}  // namespace moe
