// No reader sees half a file; a full disk, a kill or a throw leaves what was there.
#include "core/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>
#include <functional>

#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

namespace fs = std::filesystem;
using test::scratch_folder;

Exit code_of(const std::function<void()>& statement) {
  try {
    statement();
  } catch (const Error& e) {
    return e.code();
  }
  return Exit::kFinished;
}

// How a child that runs `body` ends: its wait status.
int in_a_child(const std::function<void()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    body();
    ::_exit(0);
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

size_t entries_in(const fs::path& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(File, WhatIsWrittenIsRead) {
  const fs::path folder = scratch_folder();
  const std::string large(3'000'000, 'x');
  for (const std::string& bytes : {std::string(), std::string("a\0b\n", 4), large}) {
    write_file(folder / "deep/er/file", bytes);
    EXPECT_EQ(read_file(folder / "deep/er/file"), bytes);
  }
  EXPECT_EQ(entries_in(folder / "deep/er"), 1U);
  EXPECT_EQ(MappedFile(folder / "deep/er/file").bytes().size(), large.size());
}

TEST(File, PiecesOfAnySizeComeInOrder) {
  const fs::path path = scratch_folder() / "file";
  std::string expected;
  AtomicFile file(path);
  for (const size_t size : {1U, 0U, 1'048'575U, 1U, 1'048'576U, 3U, 2'000'000U, 7U, 600'000U, 600'000U}) {
    const std::string piece(size, static_cast<char>('a' + expected.size() % 26));
    file.write(piece);
    expected += piece;
  }
  file.commit();
  EXPECT_EQ(read_file(path), expected);
}

TEST(File, AnEmptyFileHasEmptyBytesAndMovesKeepTheMapping) {
  const fs::path folder = scratch_folder();
  write_file(folder / "empty", "");
  EXPECT_TRUE(MappedFile(folder / "empty").bytes().empty());
  write_file(folder / "some", "bytes");
  MappedFile a(folder / "some");
  MappedFile b(std::move(a));
  EXPECT_EQ(b.bytes(), "bytes");
  MappedFile c(folder / "empty");
  c = std::move(b);
  EXPECT_EQ(c.bytes(), "bytes");
  EXPECT_EQ(c.path(), folder / "some");
}

TEST(File, WhatIsNoFileIsNotRead) {
  const fs::path folder = scratch_folder();
  EXPECT_ERROR(read_file(folder), folder.string() + ": expected a file, found a folder");
  EXPECT_ERROR(read_file(folder / "none"),
               (folder / "none").string() + ": cannot open for reading: No such file");
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_ERROR(read_file(folder / "pipe"),
               "pipe: expected a file, found something else");  // and does not wait
  EXPECT_ERROR(read_file("/dev/null"), "/dev/null: expected a file, found something else");
}

TEST(File, WithoutCommitTheOldFileStays) {
  const fs::path folder = scratch_folder();
  write_file(folder / "file", "old");
  {
    AtomicFile file(folder / "file");
    file.write("new");
  }
  EXPECT_EQ(read_file(folder / "file"), "old");
  EXPECT_EQ(entries_in(folder), 1U);
}

TEST(File, AKillBeforeCommitLeavesTheOldFileAndATemporaryThatIsRemoved) {
  const fs::path folder = scratch_folder();
  write_file(folder / "file", "old");
  const int status = in_a_child([&] {
    AtomicFile file(folder / "file");
    file.write(std::string(2'000'000, 'n'));
    ::raise(SIGKILL);
  });
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(read_file(folder / "file"), "old");
  EXPECT_TRUE(fs::exists(folder / "file.tmp"));
  fs::create_directories(folder / "out.tmp/sub");
  remove_temporaries(folder);
  EXPECT_EQ(entries_in(folder), 1U);
  remove_temporaries(folder / "none");  // nothing to do
}

TEST(File, AFailedCommitLeavesNoTemporary) {
  const fs::path folder = scratch_folder();
  fs::create_directories(folder / "taken/full");
  EXPECT_ERROR(write_file(folder / "taken", "x"),
               (folder / "taken").string() + ": cannot rename: Is a directory");
  EXPECT_EQ(entries_in(folder), 1U);
  write_file(folder / "file", "x");
  EXPECT_ERROR(write_file(folder / "file/below", "x"), "file: cannot make the folder: ");
}

TEST(File, AFullDiskIsTryAgain) {
  const fs::path folder = scratch_folder();
  write_file(folder / "file", "old");
  const auto write = [&](size_t size) {
    fs::create_symlink("/dev/full", folder / "file.tmp");
    write_file(folder / "file", std::string(size, 'n'));
  };
  for (const size_t size : {size_t{10}, size_t{5'000'000}}) {
    EXPECT_ERROR(write(size), (folder / "file").string() +
                                  ": cannot write: No space left on device; make room and run the same "
                                  "command again");
    EXPECT_EQ(code_of([&] { write(size); }), Exit::kTryAgain);
    EXPECT_EQ(read_file(folder / "file"), "old");
    EXPECT_EQ(entries_in(folder), 1U);
  }
}

TEST(File, AFileSizeLimitIsTryAgain) {
  const fs::path folder = scratch_folder();
  write_file(folder / "file", "old");
  const int status = in_a_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      write_file(folder / "file", std::string(5'000'000, 'n'));
    } catch (const Error& e) {
      const bool says =
          std::string(e.what()).find("cannot write: File too large; make room") != std::string::npos;
      ::_exit(says ? static_cast<int>(e.code()) : 1);
    }
  });
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 75);
  EXPECT_EQ(read_file(folder / "file"), "old");
  EXPECT_EQ(entries_in(folder), 1U);
}

TEST(File, TooLittleFreeDiskIsTryAgain) {
  const fs::path folder = scratch_folder();
  EXPECT_NO_THROW(check_free_disk(folder / "not/yet/there", 1));
  EXPECT_ERROR(check_free_disk(folder / "not/yet/there", uint64_t{1} << 62),
               folder.string() + ": needs 4611686018427 MB of free disk, found ");
  EXPECT_EQ(code_of([&] { check_free_disk(folder, uint64_t{1} << 62); }), Exit::kTryAgain);
}

TEST(Folder, ReplacesTheOldOneWhole) {
  const fs::path folder = scratch_folder();
  for (const std::string name : {"first", "second", "third"}) {
    // A trailing slash means the same folder.
    write_folder(name == "third" ? folder / "out/" : folder / "out", [&](const fs::path& inside) {
      EXPECT_TRUE(fs::is_empty(inside));
      write_file(inside / name, name);
      write_file(inside / "sub/file", name);
    });
    EXPECT_EQ(read_file(folder / "out" / name), name);
    EXPECT_EQ(read_file(folder / "out/sub/file"), name);
    EXPECT_EQ(entries_in(folder / "out"), 2U);
    EXPECT_EQ(entries_in(folder), 1U);
  }
}

TEST(Folder, WhatAKilledRunLeftIsNotTakenOver) {
  const fs::path folder = scratch_folder();
  write_file(folder / "out.tmp/left", "x");
  write_folder(folder / "out", [](const fs::path& inside) { write_file(inside / "a", "a"); });
  EXPECT_FALSE(fs::exists(folder / "out/left"));
  EXPECT_EQ(entries_in(folder), 1U);
}

TEST(Folder, AThrowInFillLeavesTheOldOne) {
  const fs::path folder = scratch_folder();
  const auto failing = [&] {
    write_folder(folder / "out", [](const fs::path& inside) {
      write_file(inside / "b", "b");
      fail("no more");
    });
  };
  EXPECT_ERROR(failing(), "no more");
  EXPECT_EQ(entries_in(folder), 0U);
  write_folder(folder / "out", [](const fs::path& inside) { write_file(inside / "a", "a"); });
  EXPECT_ERROR(failing(), "no more");
  EXPECT_EQ(read_file(folder / "out/a"), "a");
  EXPECT_EQ(entries_in(folder / "out"), 1U);
  EXPECT_EQ(entries_in(folder), 1U);
}

TEST(Folder, AtNoMomentIsItAbsent) {
  const fs::path folder = scratch_folder();
  const auto write = [&](const std::string& text) {
    write_folder(folder / "out", [&](const fs::path& inside) { write_file(inside / "a", text); });
  };
  write("0");
  const pid_t child = ::fork();
  if (child == 0) {
    for (int i = 0;; ++i) write(std::to_string(i));
  }
  for (int i = 0; i < 2000; ++i) EXPECT_TRUE(fs::exists(folder / "out"));
  ::kill(child, SIGKILL);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_FALSE(read_file(folder / "out/a").empty());
}

}  // namespace
}  // namespace decant
