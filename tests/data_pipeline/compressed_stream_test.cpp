#include "data_pipeline/compressed_stream.h"

#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "tests/data_pipeline/compress.h"
#include "tests/data_pipeline/read_records.h"
#include "tests/support/expect_error.h"

namespace decant {
namespace {

using test::gzip;
using test::zstd;

std::string decoded(const std::string& bytes, const std::string& name, const StreamLimits& limits = {},
                    size_t room = 4099) {
  const auto path = test::scratch_folder() / name;
  write_file(path, bytes);
  auto stream = open_bytes(path, name, limits);
  std::string text, part(room, '\0');
  while (const size_t got = stream->read(part.data(), part.size())) text.append(part, 0, got);
  EXPECT_EQ(stream->read(part.data(), part.size()), 0u);
  return text;
}

std::string sample() {
  std::string text;
  for (int i = 0; i < 60000; ++i) text += concat("{\"n\":", i * 7919 % 65537, "}\n");
  return text;
}

TEST(CompressedStream, MembersAndFramesOneAfterTheOther) {
  const std::string text = sample(), half = text.substr(0, text.size() / 2), rest = text.substr(half.size());
  EXPECT_EQ(decoded(text, "f.jsonl"), text);
  EXPECT_EQ(decoded("", "f.jsonl"), "");
  EXPECT_EQ(decoded(gzip(text), "f.jsonl.gz"), text);
  EXPECT_EQ(decoded(gzip(half) + gzip("") + gzip(rest), "f.gz"), text);
  EXPECT_EQ(decoded(gzip(text) + std::string(512, '\0'), "f.gz"), text);  // padded, as tapes are
  EXPECT_EQ(decoded(zstd(text), "f.jsonl.zst"), text);
  EXPECT_EQ(decoded(zstd(half) + zstd("") + zstd(rest), "f.zst"), text);
  EXPECT_EQ(decoded(zstd(half) + std::string("\x50\x2a\x4d\x18\x03\0\0\0abc", 11) + zstd(rest), "f.zst"),
            text);
  EXPECT_EQ(decoded(zstd(text), "no-extension"), text);  // the bytes say it
  EXPECT_EQ(decoded(gzip(text), "f.zst"), text);
  EXPECT_EQ(decoded(gzip("ab") + gzip("c"), "f.gz", {}, 1), "abc");
  EXPECT_EQ(decoded(zstd("ab") + zstd("c"), "f.zst", {}, 1), "abc");
}

TEST(CompressedStream, WhatIsCutOffOrCorruptIsAnError) {
  const std::string text = sample(), gz = gzip(text), zst = zstd(text);
  for (const size_t size : {size_t{0}, size_t{1}, size_t{5}, gz.size() / 2, gz.size() - 1})
    EXPECT_ERROR(decoded(gz.substr(0, size), "f.gz"), size == 1 ? "the name says .gz" : "ends in the middle");
  for (const size_t size : {size_t{0}, size_t{4}, zst.size() / 2, zst.size() - 1})
    EXPECT_ERROR(decoded(zst.substr(0, size), "f.zst"), "ends in the middle");
  std::string bad = gz;
  bad[bad.size() / 2] = static_cast<char>(~bad[bad.size() / 2]);
  EXPECT_ERROR(decoded(bad, "f.gz"), "f.gz: the gzip stream is corrupt");
  bad = zst;
  bad[bad.size() / 2] = static_cast<char>(~bad[bad.size() / 2]);
  EXPECT_ERROR(decoded(bad, "f.zst"), "f.zst: the zstd stream is corrupt");
  EXPECT_ERROR(decoded(gz + "x", "f.gz"), "ends in the middle");
  EXPECT_ERROR(decoded(gz + "xyz", "f.gz"), "other bytes follow");
  EXPECT_ERROR(decoded(zst + "xyzzy", "f.zst"), "corrupt");
  EXPECT_ERROR(decoded("{}", "f.jsonl.gz"), "the name says .gz");
  EXPECT_ERROR(decoded("{}", "f.jsonl.zst"), "the name says .zst");
  EXPECT_ERROR(decoded("BZh91AY", "f.jsonl"), "bzip2; only .gz and .zst");
  EXPECT_ERROR(decoded("\xfd\x37zXZ", "f.jsonl.xz"), "compressed with xz");
  EXPECT_ERROR(decoded("PK\x03\x04", "f.zip"), "compressed with zip");
  EXPECT_ERROR(open_bytes(test::scratch_folder(), "folder", {}), "expected a file, found a folder");
  EXPECT_ERROR(open_bytes(test::scratch_folder() / "none", "none", {}), "cannot open");
}

// A few kilobytes that would be gigabytes: refused after 64 MiB, whatever the format.
TEST(CompressedStream, BombsAreRefused) {
  const std::string zeros(8 << 20, ' ');
  std::string gz, zst;
  for (int i = 0; i < 20; ++i) {
    gz += gzip(zeros);
    zst += zstd(zeros);
  }
  EXPECT_LT(zst.size(), 100000u);
  EXPECT_ERROR(decoded(zst, "f.zst", {}, 1 << 16), "it may be a decompression bomb; raise 'max_expansion'");
  EXPECT_ERROR(decoded(gz, "f.gz", {}, 1 << 16), "it may be a decompression bomb");
  EXPECT_ERROR(decoded(zst, "f.zst", {1 << 20, 1 << 20}, 1 << 16), "holds more than 1048576 bytes");
  EXPECT_EQ(decoded(zst, "f.zst", {1 << 20, 1 << 30}, 1 << 16).size(), size_t{160} << 20);
}

TEST(CompressedStream, StandardInput) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const std::string bytes = gzip("{\"a\":1}\n{\"a\":2}\n");
  ASSERT_EQ(::write(ends[1], bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  ::close(ends[1]);
  const int saved = ::dup(STDIN_FILENO);
  ::dup2(ends[0], STDIN_FILENO);
  ::close(ends[0]);
  CorpusReader reader(expand_inputs({"-"}, ""));
  std::vector<std::string> lines;
  for (RawRecord record; reader.next(record);) lines.push_back(record.source.file + record.bytes);
  ::dup2(saved, STDIN_FILENO);
  ::close(saved);
  EXPECT_EQ(lines, (std::vector<std::string>{"-{\"a\":1}", "-{\"a\":2}"}));
}

}  // namespace
}  // namespace decant
