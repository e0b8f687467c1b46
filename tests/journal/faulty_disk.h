// FaultyDisk makes the files under a folder behave as on a disk that fails, fills up, or loses its
// power: this program's write, fsync, rename and so on go through it (faulty_disk.cc). What it
// forgets when the power goes is what the kernel may forget: bytes that no fsync has covered, and
// names that came, went or changed since their folder was synced.
// Thread safety: any method, any thread; one FaultyDisk at a time.

#ifndef LARDER_TESTS_JOURNAL_FAULTY_DISK_H_
#define LARDER_TESTS_JOURNAL_FAULTY_DISK_H_

#include <cstdint>
#include <string>

namespace larder {

class FaultyDisk {
 public:
  // What is in the folder is on disk. The path is absolute and without links.
  explicit FaultyDisk(const std::string& folder);
  ~FaultyDisk();
  FaultyDisk(const FaultyDisk&) = delete;
  FaultyDisk& operator=(const FaultyDisk&) = delete;

  // From now on writes, or fsyncs, answer this errno; 0: they work. After an fsync that failed, the
  // next one says OK, and what the first one was to save is lost all the same, as in Linux.
  void FailWrites(int error);
  void FailSyncs(int error);
  // So many more bytes fit; a write that does not fit writes nothing, answers ENOSPC and leaves
  // nothing free. What is removed frees nothing.
  void Leave(int64_t bytes);
  void LeaveEnough() { Leave(int64_t{1} << 60); }

  // From now on nothing reaches the disk. Call it before the store is destroyed, and PowerLoss
  // afterwards.
  void Stop();
  // The folder becomes as it is found when the power is back, and takes writes again. `names_too`:
  // names that were not synced are lost as well, and overwritten bytes are as they were.
  void PowerLoss(bool names_too);

  // Calls since it was made that asked to sync a file, and bytes written.
  uint64_t syncs() const;
  uint64_t bytes_written() const;
};

}  // namespace larder

#endif  // LARDER_TESTS_JOURNAL_FAULTY_DISK_H_
