#include "libmoe/data/direction.h"

#include <algorithm>
#include <sstream>

#include "libmoe/base/error.h"

namespace moe {

std::string direction_name(const Direction& direction, const std::vector<std::string>& languages) {
  return languages[static_cast<std::size_t>(direction.source)] + "-" +
         languages[static_cast<std::size_t>(direction.target)];
}

std::vector<Direction> choose_directions(const std::vector<Part>& parts,
                                         const std::vector<std::string>& languages,
                                         const std::string& choice) {
  std::vector<Direction> all;
  std::vector<std::string> names;
  for (std::size_t p = 0; p < parts.size(); ++p) {
    if (parts[p].target < 0) continue;
    for (const bool reversed : {false, true}) {
      Direction d{static_cast<int>(p), reversed, parts[p].source, parts[p].target};
      if (reversed) std::swap(d.source, d.target);
      names.push_back(direction_name(d, languages));
      all.push_back(d);
    }
  }
  if (choice == "both") return all;
  std::vector<Direction> chosen;
  if (choice == "forward" || choice == "backward") {
    std::copy_if(all.begin(), all.end(), std::back_inserter(chosen),
                 [&](const Direction& d) { return d.reversed == (choice == "backward"); });
    return chosen;
  }
  std::vector<std::string> wanted;
  std::istringstream stream(choice);
  for (std::string name; std::getline(stream, name, ',');) wanted.push_back(name);
  for (const std::string& name : wanted)
    if (std::find(names.begin(), names.end(), name) == names.end())
      usage_error(
          "--directions: '{}' is neither both, forward, backward nor a direction of the dataset ({}{})", name,
          fmt::join(names.begin(),
                    names.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(6, names.size())),
                    ", "),
          names.size() > 6 ? ", ..."
          : names.empty()  ? "it has no pairs"
                           : "");
  for (std::size_t i = 0; i < all.size(); ++i)
    if (std::find(wanted.begin(), wanted.end(), names[i]) != wanted.end()) chosen.push_back(all[i]);
  return chosen;
}

}  // namespace moe
