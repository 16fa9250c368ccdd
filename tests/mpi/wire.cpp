// usage: mpi_wire WAY N    N all-to-alls of a MiB from each rank to each; prints what has been sent between
// nodes
#include <cstdio>
#include <cstdlib>

#include "libmoe/base/log.h"
#include "libmoe/comm/mpi_world.h"

int main(int, char** argv) {
  using namespace moe;
  try {
    WorldOptions options;
    options.all_to_all = argv[1];
    const std::shared_ptr<Communicator> world = open_world(options);
    const auto device = Device::open("ref");
    Stream stream(*device, 1);
    const std::int64_t n = 1 << 20;
    const Tensor send = Tensor::zeros(stream, {n * world->size()}, DType::u8);
    const Tensor receive = Tensor::zeros(stream, {n * world->size()}, DType::u8);
    const std::vector<std::int64_t> rows(static_cast<std::size_t>(world->size()), n);
    const Traffic before = world_facts(*world).traffic;
    for (int i = 0; i < std::atoi(argv[2]); ++i) world->all_to_all(stream, send, rows, receive, rows);
    const Traffic t = world_facts(*world).traffic;
    std::vector<std::int64_t> sent{t.messages_between - before.messages_between,
                                   t.bytes_between - before.bytes_between};
    world->all_reduce(Reduce::sum, sent);
    if (world->rank() == 0) std::printf("%ld %ld\n", static_cast<long>(sent[0]), static_cast<long>(sent[1]));
    return 0;
  } catch (const Error& e) {
    log_message(LogLevel::error, e.what());
    return static_cast<int>(e.code());
  }
}
