// Who made a file and from what, as attributes of the root group.
#pragma once
#include <string>

#include "libmoe/h5/file.h"
#include "libmoe/h5/library.h"

namespace moe::h5 {

/// Command line of this process as given to set_command_line(), quoted for a shell.
const std::string& command_line();
/// "moe 0.1.0"
std::string program_version();
/// Adds an input file with its checksum, and the sources it names itself when it is a file of ours.
void record_input(const std::string& path, Provenance& provenance);
/// Adds a line unless it is there already; line ends become spaces.
void add_line(std::vector<std::string>& lines, const std::string& line);
/// Needs a Lock. Missing attributes are read as empty.
Provenance read_provenance(hid_t file);

std::string join_lines(const std::vector<std::string>& lines);

}  // namespace moe::h5
