// Locks of files between processes.
#pragma once
#include <string>

namespace moe {

enum class Locked { yes, by_another, unsupported };

/// Tries to lock an open file for writing, without waiting. The lock is that of the open file description: it
/// also holds between two openings in one process, works on network disks that know locks, and ends when the
/// last descriptor is closed or its process has ended. Thread-safe.
Locked try_lock(int file);

/// The same against writers only; also of a file that was opened for reading, and of one that this
/// description has locked: then others may read-lock it, and never write-lock it in between.
Locked try_lock_shared(int file);

/// A new or present file, opened for reading and writing, of which the lock was tried. Between open and lock
/// its last holder may remove it: a file without a name is never returned. Otherwise file is -1, errno set.
struct LockedFile {
  int file = -1;
  Locked locked = Locked::unsupported;
};
LockedFile open_locked(const std::string& path);

}  // namespace moe
