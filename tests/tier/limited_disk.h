// LimitedDisk is the real file system with a bound on how much may be written to it, which a test
// moves at will. Thread safety: any method, any thread.

#ifndef LARDER_TESTS_TIER_LIMITED_DISK_H_
#define LARDER_TESTS_TIER_LIMITED_DISK_H_

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace larder {

class LimitedDisk {
 public:
  LimitedDisk() : env_(rocksdb::NewCompositeEnv(std::make_shared<FileSystem>(this))) {}

  rocksdb::Env* env() { return env_.get(); }

  // From now on so many more bytes can be written; the write that would exceed them, and all after
  // it, write nothing and answer that there is no space.
  void Leave(int64_t bytes) { left_ = bytes; }
  void LeaveEnough() { left_ = int64_t{1} << 60; }
  // What the disk says is free, whatever can be written.
  void Say(uint64_t free) { said_ = free; }

 private:
  class File : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    File(std::unique_ptr<rocksdb::FSWritableFile> file, LimitedDisk* disk)
        : FSWritableFileOwnerWrapper(std::move(file)), disk_(disk) {}

    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* debug) override {
      if (!disk_->Take(data.size())) return rocksdb::IOStatus::NoSpace("the test's disk is full");
      return FSWritableFileOwnerWrapper::Append(data, options, debug);
    }
    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                             const rocksdb::DataVerificationInfo& info,
                             rocksdb::IODebugContext* debug) override {
      if (!disk_->Take(data.size())) return rocksdb::IOStatus::NoSpace("the test's disk is full");
      return FSWritableFileOwnerWrapper::Append(data, options, info, debug);
    }

   private:
    LimitedDisk* const disk_;
  };

  class FileSystem : public rocksdb::FileSystemWrapper {
   public:
    explicit FileSystem(LimitedDisk* disk)
        : FileSystemWrapper(rocksdb::FileSystem::Default()), disk_(disk) {}

    const char* Name() const override { return "LimitedDisk"; }
    rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSWritableFile>* result,
                                      rocksdb::IODebugContext* debug) override {
      if (!disk_->Take(0)) return rocksdb::IOStatus::NoSpace("the test's disk is full");
      const rocksdb::IOStatus status =
          FileSystemWrapper::NewWritableFile(name, options, result, debug);
      if (status.ok()) *result = std::make_unique<File>(std::move(*result), disk_);
      return status;
    }
    rocksdb::IOStatus GetFreeSpace(const std::string& /*path*/,
                                   const rocksdb::IOOptions& /*options*/, uint64_t* free,
                                   rocksdb::IODebugContext* /*debug*/) override {
      *free = disk_->said_;
      return rocksdb::IOStatus::OK();
    }

   private:
    LimitedDisk* const disk_;
  };

  bool Take(size_t bytes) {
    const auto size = static_cast<int64_t>(bytes);
    for (int64_t left = left_; left >= std::max<int64_t>(size, 1);) {
      if (left_.compare_exchange_weak(left, left - size)) return true;
    }
    // Full from here on, unless the test has said otherwise in the meantime.
    int64_t left = left_;
    while (left < size && !left_.compare_exchange_weak(left, 0)) {
    }
    return false;
  }

  std::atomic<int64_t> left_{int64_t{1} << 60};
  std::atomic<uint64_t> said_{uint64_t{1} << 40};
  const std::unique_ptr<rocksdb::Env> env_;
};

}  // namespace larder

#endif  // LARDER_TESTS_TIER_LIMITED_DISK_H_
