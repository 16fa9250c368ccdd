#include "tools/common/nearest.h"

#include <algorithm>
#include <utility>

namespace moe::tools {
namespace {

std::size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string nearest(const std::string& word, const std::vector<std::string>& known, std::size_t most) {
  std::string best;
  std::size_t best_distance = most + 1;
  for (const std::string& name : known)
    if (const std::size_t distance = edit_distance(word, name); distance < best_distance) {
      best = name;
      best_distance = distance;
    }
  return best;
}

}  // namespace moe::tools
