// Files: mapped reading, and writing that no reader ever sees half of (temporary sibling, fsync, rename,
// fsync of the folder). A full disk or a kill leaves the old file, or none, and at most a `.tmp` sibling that
// the next run removes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace decant {

// A whole file, mapped read-only. Error when it cannot be opened, is a folder, or cannot be mapped. An empty
// file has empty bytes().
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::string_view bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }
  // Takes the whole pages of `part` (of bytes()) out of this process's memory; they come back when read
  // again.
  void let_go(std::string_view part) const;

 private:
  std::filesystem::path path_;
  const char* data_ = nullptr;
  size_t size_ = 0;
};

std::string read_file(const std::filesystem::path& path);

// Writes to `<path>.tmp` and, on commit(), fsyncs and renames it over `path`. Without commit() the temporary
// file is removed. Every error (no space, no permission) is an Error that names the path; no space, a quota
// and a file size limit (where the program ignores SIGXFSZ) have exit status 75.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(std::string_view bytes);
  void commit();

 private:
  void flush();
  std::filesystem::path path_, temporary_;
  std::string buffer_;
  int descriptor_ = -1;
  bool committed_ = false;
};

void write_file(const std::filesystem::path& path, std::string_view bytes);

// Calls `fill(temporary folder)` and then puts that folder, fsynced file by file, in the place of `path` (an
// existing `path` is exchanged with it in one step and then removed). When `fill` throws, the temporary
// folder is removed and `path` is as before.
void write_folder(const std::filesystem::path& path,
                  const std::function<void(const std::filesystem::path&)>& fill);

// Removes `*.tmp` siblings that a killed run left directly in `folder`.
void remove_temporaries(const std::filesystem::path& folder);

// Error (exit status 75) unless the file system of `path` has `bytes` free.
void check_free_disk(const std::filesystem::path& path, uint64_t bytes);

}  // namespace decant
