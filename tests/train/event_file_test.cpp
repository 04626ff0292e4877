// TensorBoard event files: the framing, and what the tensorboard package itself reads from them.
#include "train/event_file.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "core/file.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

TEST(EventFile, ChecksumIsCastagnoli) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);            // the check value of CRC-32C
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);  // RFC 3720 B.4
  EXPECT_EQ(crc32c(""), 0U);
}

TEST(EventFile, GoesOnWhereACheckpointWas) {
  const auto path = test::scratch_folder() / kEventFileName;
  uint64_t recorded = 0;
  {
    EventFile file(path, 0);
    file.scalars(1, 100.0, {{"loss", 2.0}});
    recorded = file.bytes();
    file.scalars(2, 101.0, {{"loss", 9.0}});  // lost with the kill
  }
  const std::string before = read_file(path).substr(0, recorded);
  {
    EventFile file(path, recorded);
    file.scalars(2, 102.0, {{"loss", 1.0}});
  }
  const std::string after = read_file(path);
  EXPECT_EQ(after.substr(0, recorded), before);
  EXPECT_GT(after.size(), recorded);
  EXPECT_ERROR(EventFile(path, 100000), "the checkpoint recorded 100000");
}

TEST(EventFile, TensorboardReadsIt) {
  const char* peers = std::getenv("DECANT_PEERS");
  const std::string python = std::string(peers != nullptr ? peers : "") + "/bin/python";
  if (peers == nullptr || !std::filesystem::exists(python))
    GTEST_SKIP() << "set DECANT_PEERS to a virtual environment with tensorboard";
  const auto folder = test::scratch_folder();
  {
    EventFile file(folder / kEventFileName, 0);
    for (int step = 1; step <= 3; ++step)
      file.scalars(step, 1000.0 + step, {{"loss", 1.0 / step}, {"learning_rate", 0.5 * step}});
  }
  std::ofstream(folder / "read.py")
      << "import sys\n"
         "from tensorboard.backend.event_processing.event_accumulator import EventAccumulator\n"
         "a = EventAccumulator(sys.argv[1]); a.Reload()\n"
         "print(sorted(a.Tags()['scalars']), [(e.step, e.wall_time, round(e.value, 4)) for e in "
         "a.Scalars('loss')],"
         " [e.value for e in a.Scalars('learning_rate')])\n";
  const auto out = folder / "out.txt";
  const std::string command = python + " " + (folder / "read.py").string() + " " + folder.string() + " > " +
                              out.string() + " 2> " + (folder / "err.txt").string();
  ASSERT_EQ(std::system(command.c_str()), 0) << read_file(folder / "err.txt");
  EXPECT_EQ(read_file(out),
            "['learning_rate', 'loss'] [(1, 1001.0, 1.0), (2, 1002.0, 0.5), (3, 1003.0, 0.3333)] [0.5, 1.0, "
            "1.5]\n");
}

}  // namespace
}  // namespace decant
