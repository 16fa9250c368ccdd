// AddressSanitizer as these programs need it; linked into each of them when it watches.
#include <pthread.h>

// Of GCC 12's libasan.a.
namespace __lsan {
void LockAllocator();
void UnlockAllocator();
void LockThreadRegistry();
void UnlockThreadRegistry();
}  // namespace __lsan
namespace __sanitizer {
void StackDepotLockAll();
void StackDepotUnlockAll();
}  // namespace __sanitizer

namespace {

void lock() {
  __lsan::LockThreadRegistry();
  __lsan::LockAllocator();
  __sanitizer::StackDepotLockAll();
}

void unlock() {
  __sanitizer::StackDepotUnlockAll();
  __lsan::UnlockAllocator();
  __lsan::UnlockThreadRegistry();
}

// A forked child may allocate, whatever other threads of its parent were doing: glibc sees to that, and so
// does AddressSanitizer from GCC 13 on.
[[gnu::constructor]] void hold_locks_while_forking() {
  pthread_atfork(lock, unlock, unlock);
}

}  // namespace

// HDF5 1.10 loses the names of a mapped dataset's sources when the disk has no place for their list.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:H5MM_xstrdup\n";
}
