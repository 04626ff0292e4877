// Steps: skipped when nothing changed, continued after a kill, cleared when their key changed.
#include "core/run_directory.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "core/file.h"
#include "core/hash.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

namespace fs = std::filesystem;
using test::scratch_folder;

StepKey key_of(const std::string& config = "a: 1\n") {
  return {"corpus", 1, config, {{"tickets", sha256_hex("x")}}};
}

Json write_two(const fs::path& folder) {
  write_file(folder / "a.txt", "A");
  write_file(folder / "deep/b.txt", "B");
  write_file(folder / "timing.jsonl", std::to_string(::getpid()));
  return {{"kept", 2}};
}
const std::vector<std::string> kVolatile = {"timing.jsonl", "checkpoint"};

TEST(RunDirectory, AStepRunsOnceAndItsManifestTellsWhatItDid) {
  const fs::path path = scratch_folder() / "run";
  RunDirectory run(path);
  EXPECT_FALSE(run.done(key_of(), kVolatile));
  const auto first = run.step(key_of(), write_two, kVolatile);
  EXPECT_TRUE(first.ran);
  EXPECT_EQ(first.manifest["figures"]["kept"], 2);
  EXPECT_EQ(first.manifest["outputs"], Json({{"a.txt", sha256_hex("A")}, {"deep/b.txt", sha256_hex("B")}}));
  EXPECT_EQ(first.manifest["inputs"]["tickets"], sha256_hex("x"));
  EXPECT_EQ(first.manifest["machine"], machine_key());
  EXPECT_EQ(read_file(path / "corpus/manifest.json").find(path.string()), std::string::npos);
  EXPECT_TRUE(run.done(key_of(), kVolatile));
  const auto second = run.step(
      key_of(), [](const fs::path&) -> Json { throw Error("must not run"); }, kVolatile);
  EXPECT_FALSE(second.ran);
  EXPECT_EQ(second.manifest, first.manifest);
}

TEST(RunDirectory, EveryPartOfTheKeyCounts) {
  RunDirectory run(scratch_folder() / "run");
  run.step(key_of(), write_two, kVolatile);
  auto version = key_of();
  version.version = 2;
  auto inputs = key_of();
  inputs.inputs["tickets"] = sha256_hex("y");
  auto more = key_of();
  more.inputs["templates"] = sha256_hex("x");
  for (const auto& other : {key_of("a: 2\n"), version, inputs, more})
    EXPECT_FALSE(run.done(other, kVolatile));
  set_run_threads(7);
  EXPECT_FALSE(run.done(key_of(), kVolatile));
  set_run_threads(static_cast<int64_t>(std::thread::hardware_concurrency()));
  EXPECT_TRUE(run.done(key_of(), kVolatile));
}

TEST(RunDirectory, AnotherKeyClearsTheFolder) {
  RunDirectory run(scratch_folder() / "run");
  run.step(key_of(), write_two, kVolatile);
  const auto outcome = run.step(
      key_of("a: 2\n"),
      [](const fs::path& folder) -> Json {
        EXPECT_FALSE(fs::exists(folder / "a.txt"));
        EXPECT_FALSE(fs::exists(folder / "deep"));
        EXPECT_FALSE(fs::exists(folder / "manifest.json"));
        write_file(folder / "c.txt", "C");
        return nullptr;
      },
      kVolatile);
  EXPECT_EQ(outcome.manifest["outputs"].size(), 1U);
}

TEST(RunDirectory, AChangedLostOrDamagedOutputMakesTheStepRunAgainFromNothing) {
  const fs::path folder = scratch_folder() / "run/corpus";
  RunDirectory run(folder.parent_path());
  const std::function<void()> damages[] = {[&] { write_file(folder / "a.txt", "X"); },
                                           [&] { fs::remove(folder / "deep/b.txt"); },
                                           [&] { write_file(folder / "manifest.json", "{"); },
                                           [&] { write_file(folder / "manifest.json", "[]"); }};
  for (const auto& damage : damages) {
    run.step(key_of(), write_two, kVolatile);
    damage();
    EXPECT_FALSE(run.done(key_of(), kVolatile));
    bool empty = false;
    const auto outcome = run.step(
        key_of(),
        [&](const fs::path& f) {
          empty = !fs::exists(f / "a.txt");
          return write_two(f);
        },
        kVolatile);
    EXPECT_TRUE(outcome.ran);
    EXPECT_TRUE(empty);
  }
}

TEST(RunDirectory, VolatileFilesMayChange) {
  const fs::path path = scratch_folder() / "run";
  RunDirectory run(path);
  run.step(key_of(), write_two, kVolatile);
  write_file(path / "corpus/timing.jsonl", "other");
  write_file(path / "corpus/checkpoint/state", "other");
  EXPECT_TRUE(run.done(key_of(), kVolatile));
}

TEST(RunDirectory, AStepInsideAnotherIsItsOwn) {
  RunDirectory run(scratch_folder() / "run");
  StepKey inner{"lora/acme", 1, "", {}}, outer{"lora", 1, "", {}};
  run.step(inner, write_two, kVolatile);
  const auto outcome = run.step(outer, [](const fs::path& f) -> Json {
    write_file(f / "o.txt", "O");
    return nullptr;
  });
  EXPECT_EQ(outcome.manifest["outputs"].size(), 1U);
  outer.config = "b: 1\n";
  run.step(outer, [](const fs::path&) -> Json { return nullptr; });
  EXPECT_TRUE(run.done(inner, kVolatile));
}

TEST(RunDirectory, AnErrorLeavesWhatWasDoneForTheNextRun) {
  RunDirectory run(scratch_folder() / "run");
  EXPECT_ERROR(run.step(
                   key_of(),
                   [](const fs::path& f) -> Json {
                     write_file(f / "checkpoint/1", "half");
                     fail("stop");
                   },
                   kVolatile),
               "stop");
  run.step(
      key_of(),
      [](const fs::path& f) {
        EXPECT_EQ(read_file(f / "checkpoint/1"), "half");
        return write_two(f);
      },
      kVolatile);
  EXPECT_TRUE(run.done(key_of(), kVolatile));
}

// Child processes are killed at each moment of a step of six writes; whatever is left, the next run ends with
// the same bytes.
TEST(RunDirectory, AKilledStepIsContinuedAndEndsWithTheSameBytes) {
  const fs::path scratch = scratch_folder();
  const auto work = [](int die_at, int& found) {
    return [die_at, &found](const fs::path& folder) -> Json {
      for (int i = 0; i < 6; ++i) {
        if (i == die_at) ::raise(SIGKILL);
        const fs::path file = folder / (std::to_string(i) + ".txt");
        if (fs::exists(file)) {
          ++found;
          continue;
        }
        AtomicFile out(file);
        out.write(std::string(100, static_cast<char>('a' + i)));
        if (i + 10 == die_at) ::raise(SIGKILL);  // with its temporary on disk
        out.commit();
      }
      return {{"files", 6}};
    };
  };
  int unused = 0;
  RunDirectory(scratch / "calm").step(key_of(), work(-1, unused));
  const std::string expected =
      digest_path(scratch / "calm/corpus") + read_file(scratch / "calm/corpus/manifest.json");
  for (const int die_at : {0, 3, 5, 10, 13, 15}) {
    const fs::path path = scratch / std::to_string(die_at);
    const pid_t child = ::fork();
    if (child == 0) {
      RunDirectory(path).step(key_of(), work(die_at, unused));
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    RunDirectory run(path);  // the lock died with its holder
    EXPECT_FALSE(run.done(key_of()));
    int found = 0;
    EXPECT_TRUE(run.step(key_of(), work(-1, found)).ran);
    EXPECT_EQ(found, die_at % 10) << die_at;
    EXPECT_EQ(digest_path(path / "corpus") + read_file(path / "corpus/manifest.json"), expected) << die_at;
  }
}

TEST(RunDirectory, OneRunAtATime) {
  const fs::path path = scratch_folder() / "run";
  {
    const RunDirectory run(path);
    try {
      const RunDirectory other(path);
      FAIL() << "two runs hold one directory";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Exit::kTryAgain);
      EXPECT_THAT(e.what(), ::testing::HasSubstr("another run holds this directory"));
    }
  }
  const RunDirectory again(path);
}

TEST(RunDirectory, NamesOfStepsStayInside) {
  RunDirectory run(scratch_folder() / "run");
  for (const char* name : {"", "/tmp", "..", "../x", "a/../../b", "a/", "."})
    EXPECT_ERROR(run.step({name, 1, "", {}}, [](const fs::path&) -> Json { return nullptr; }),
                 "cannot be the name of a step");
}

TEST(RunDirectory, OutputsAreFiles) {
  RunDirectory run(scratch_folder() / "run");
  EXPECT_ERROR(run.step(key_of(),
                        [](const fs::path& f) -> Json {
                          fs::create_symlink("/etc/passwd", f / "link");
                          return nullptr;
                        }),
               "outputs must be plain files");
}

TEST(DigestPath, FollowsNamesAndBytesOnly) {
  const fs::path path = scratch_folder();
  write_file(path / "a/x", "1");
  write_file(path / "b/x", "1");
  EXPECT_EQ(digest_path(path / "a"), digest_path(path / "b"));
  EXPECT_EQ(digest_path(path / "a/x"), sha256_hex("1"));
  write_file(path / "b/manifest.json", "{}");
  write_file(path / "b/timing.jsonl", "{}");
  EXPECT_EQ(digest_path(path / "a"), digest_path(path / "b"));
  write_file(path / "b/y", "");
  EXPECT_NE(digest_path(path / "a"), digest_path(path / "b"));
  const std::string large(3 << 20, 'z');
  write_file(path / "large", large);
  const std::string before = digest_path(path / "large");
  EXPECT_EQ(before, sha256_hex(large));
  write_file(path / "large", large.substr(1) + "y");
  EXPECT_NE(digest_path(path / "large"), before);
}

}  // namespace
}  // namespace decant
