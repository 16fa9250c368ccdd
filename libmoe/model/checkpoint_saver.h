// Checkpoints of a model in training, written while the training goes on.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "libmoe/model/checkpoint.h"
#include "libmoe/model/checkpoint_share.h"

namespace moe {

/// What is the same in all checkpoints of a run.
struct SaveHeader {
  std::shared_ptr<const Vocabulary> vocabulary;
  std::vector<std::vector<std::int64_t>> expert_ids;
  std::vector<std::string> inputs;  // see save_checkpoint()
};

struct SaveTarget {
  std::string path;
  bool with_training = false;  // the optimizer's memory and the state: what a resumed run needs
};

struct SaveRequest {
  std::vector<SaveTarget> targets;  // written, and put in place, in this order; all of the model as it is now
  std::string state;                // JSON
  std::int64_t update = 0;
};

struct SaveReport {
  std::int64_t update = 0;
  std::int64_t n_bytes = 0;    // written by all ranks
  double stall_seconds = 0;    // that the training waited
  double write_seconds = 0;    // from the start to the last file in place
  std::size_t n_in_place = 0;  // targets: all, or those before the first that failed
  std::string error;           // empty when all is well; the earlier checkpoints are untouched then
};

/// With one rank a checkpoint is one file. With several each writes its share of every tensor in a file of
/// its own, and when all of these are on the disk rank 0 puts the index in place: whenever a rank is killed,
/// path is a complete checkpoint, the old or the new one. Parts of the old one are removed after that.
///
/// Memory: start() copies this rank's share of the values, and of the optimizer's memory when a target is
/// with training, on the host: up to 12 bytes for each element of the share, freed as they are written.
///
/// All functions are collective, in the same order with other operations of the world. Not thread-safe.
class CheckpointSaver {
 public:
  /// model and adam must outlive the saver.
  CheckpointSaver(Stream& stream, const Transformer& model, const Adam& adam, SaveHeader header);
  /// Waits for its own thread; a save under way may remain without an index, and is removed by the next one.
  ~CheckpointSaver();
  CheckpointSaver(const CheckpointSaver&) = delete;
  CheckpointSaver& operator=(const CheckpointSaver&) = delete;

  /// Between start() and the report.
  bool busy() const { return job_ != nullptr; }
  /// Takes a copy of the model, and begins to write it; not while busy.
  void start(const SaveRequest& request);
  /// Between updates: goes on with a save under way without waiting for the disk. Its report, when it has
  /// ended.
  std::optional<SaveReport> poll();
  /// The same, waiting until it has ended; busy only.
  SaveReport wait();

 private:
  struct Job;
  Communicator& world() const { return model_.parts().grid->world(); }
  void run(void (CheckpointSaver::*work)());
  void write_files();
  void write_whole_file(const SaveTarget& target, bool last);
  void write_part_file(std::size_t index, bool last);
  void write_indexes();
  void write_index(std::size_t index);
  void write_header(h5::Writer& writer) const;
  void remove_parts(std::size_t first);
  bool all_done();
  std::optional<SaveReport> end_phase();
  bool learn_error();
  SaveReport report();

  Stream& stream_;
  const Transformer& model_;
  const Adam& adam_;
  SaveHeader header_;
  ShareBoxes boxes_;
  std::unique_ptr<Job> job_;
  std::thread thread_;
};

}  // namespace moe
