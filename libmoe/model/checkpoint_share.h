// What a rank writes of a checkpoint, and where that lies in the whole.
#pragma once
#include <vector>

#include "libmoe/model/checkpoint_format.h"
#include "libmoe/nn/parameter_boxes.h"

namespace moe {

/// This rank's share of a parameter: each element of the model is in the share of one rank.
struct TensorShare {
  const Parameter* parameter = nullptr;
  IndexRange range;                 // elements of this rank's slice of the parameter
  std::vector<SliceBox> boxes;      // the same
  std::vector<float> values, m, v;  // copies on the host, in the slice's own order
};

/// In the list's order, without copies.
std::vector<TensorShare> shares_of(const Transformer& model);
/// Copies values, and moments when adam is given, from the device.
void copy_shares(Stream& stream, const ParameterList& list, const Adam* adam,
                 std::vector<TensorShare>& shares);

/// Of each rank, for each parameter: the boxes of its share, in the whole tensor. Collective.
using ShareBoxes = std::vector<std::vector<std::vector<Box>>>;
ShareBoxes gather_boxes(Communicator& world, const std::vector<TensorShare>& shares);
/// Whole step counts, of each parameter. Collective.
std::vector<HostCounts> gather_steps(Communicator& world, const ParameterList& list, const Adam& adam);
/// This rank's from whole counts, which are as many as p has. Throws Error(bad_input) naming `where`.
void scatter_steps(const HostCounts& counts, const Parameter& p, const std::string& where,
                   std::vector<std::int64_t>& steps);

/// A tensor of each parameter.
struct ShareKind {
  const char* prefix;  // of its dataset's name
  std::vector<float> TensorShare::*values;
};
inline constexpr ShareKind kValueShare{kParameterPrefix, &TensorShare::values};
inline constexpr ShareKind kMomentShares[]{{"/optimizer/m/", &TensorShare::m},
                                           {"/optimizer/v/", &TensorShare::v}};

/// One-dimensional: the boxes end to end. release: frees the copy. Nothing for an empty share.
void write_share(h5::Writer& writer, ShareKind kind, TensorShare& share, bool release);
/// The whole tensor, when all of it is this rank's.
void write_whole(h5::Writer& writer, ShareKind kind, TensorShare& share, bool release);

}  // namespace moe
