#include "data_pipeline/inputs.h"

#include "core/file.h"
#include "data_pipeline/prepare.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

const std::string kGood = "{}";

std::vector<std::string> names(const std::vector<InputFile>& files) {
  std::vector<std::string> list;
  for (const auto& file : files) list.push_back(file.name);
  return list;
}

TEST(Inputs, AreFilesFoldersAndGlobs) {
  const auto folder = test::scratch_folder() / "a[1]*";  // a base with the glob's own characters
  for (const char* name : {"in/b.jsonl", "in/a.jsonl", "in/deep/c.jsonl", "in/notes.txt", "d.jsonl"})
    write_file(folder / name, kGood);
  using Names = std::vector<std::string>;
  EXPECT_EQ(names(expand_inputs({"in"}, folder)), (Names{"in/a.jsonl", "in/b.jsonl", "in/deep/c.jsonl"}));
  EXPECT_EQ(names(expand_inputs({"in/*.jsonl"}, folder)), (Names{"in/a.jsonl", "in/b.jsonl"}));
  EXPECT_EQ(names(expand_inputs({"d.jsonl", "in/b.jsonl", "in/*", "d.jsonl"}, folder)),
            (Names{"d.jsonl", "in/b.jsonl", "in/a.jsonl", "in/deep/c.jsonl", "in/notes.txt"}));
  EXPECT_EQ(names(expand_inputs({"../a[1]*/d.jsonl"}, folder)), (Names{"d.jsonl"}));
  EXPECT_EQ(names(expand_inputs({(folder / "d.jsonl").string()}, folder)), (Names{"d.jsonl"}));
  EXPECT_ERROR(expand_inputs({"in", "none-*.jsonl"}, folder), "the input 'none-*.jsonl' matches no file");
  EXPECT_ERROR(expand_inputs({"missing.jsonl"}, folder), "the input 'missing.jsonl' matches no file");
  std::filesystem::create_directories(folder / "empty");
  EXPECT_ERROR(expand_inputs({"empty"}, folder), "a folder must hold *.jsonl files");
}

TEST(Inputs, FoldersGiveWhatTheKindIs) {
  const auto folder = test::scratch_folder();
  for (const char* name : {"a.jsonl.gz", "b.JSONL", "c.ndjson.zst", "d.json", "e.csv.gz", "f.tsv", "g.txt",
                           "h.md", "i.parquet", ".hidden.jsonl", ".cache/j.jsonl"})
    write_file(folder / name, "");
  const auto of = [&](FileKind kind) {
    SourceConfig source;
    source.paths = {"."};
    source.kind = kind;
    return names(expand_sources({source}, folder));
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(of(FileKind::kAuto), (Names{"a.jsonl.gz", "b.JSONL", "c.ndjson.zst"}));
  EXPECT_EQ(of(FileKind::kJson), Names{"d.json"});
  EXPECT_EQ(of(FileKind::kCsv), (Names{"e.csv.gz", "f.tsv"}));
  EXPECT_EQ(of(FileKind::kText), (Names{"g.txt", "h.md"}));
  EXPECT_EQ(of(FileKind::kParquet), Names{"i.parquet"});
  EXPECT_EQ(names(expand_inputs({"-", "d.json", "-"}, folder)), (Names{"-", "d.json"}));
}

TEST(Inputs, SourcesOfARecipe) {
  const auto folder = test::scratch_folder();
  for (const char* name : {"a.jsonl", "b.jsonl", "c.csv"}) write_file(folder / name, "");
  const auto config = read_config<CorpusConfig>(parse_settings(R"(
inputs: [a.jsonl]
sources:
  - paths: [b.jsonl, a.jsonl]
    tenant: shop
  - paths: [c.csv]
    encoding: gb18030
    fields: {user: question, assistant: answer, roles: {agent: assistant}}
)",
                                                               "r.yaml"),
                                                "corpus");
  const auto files = corpus_files(config, folder);
  EXPECT_EQ(names(files), (std::vector<std::string>{"a.jsonl", "b.jsonl", "c.csv"}));
  EXPECT_EQ(files[1].source->tenant, "shop");
  EXPECT_EQ(files[2].source_index, 2u);
  EXPECT_EQ(files[2].source->encoding, TextEncoding::kGb18030);
  const auto again = read_config<CorpusConfig>(parse_settings(write_config(config), "again.yaml"), "corpus");
  EXPECT_EQ(again.sources, config.sources);
  const auto bad = [](const std::string& yaml) {
    (void)read_config<SourceConfig>(parse_settings(yaml, "r.yaml"), "s");
  };
  EXPECT_ERROR(bad("tenant: x"), "name at least one file");
  EXPECT_ERROR(bad("paths: [a]\ntenant: X"), "'s.tenant': must be 1 to 64");
  EXPECT_ERROR(bad("paths: [a]\nperiod: 2026"), "must be YYYY-MM");
  EXPECT_ERROR(bad("paths: [a]\ndelimiter: ab"), "must be one ASCII character");
  EXPECT_ERROR(bad("paths: [a]\nmax_record_bytes: 0"), "must be 1 to");
  EXPECT_ERROR(bad("paths: [a]\nformat: fields"), "say where the turns stand");
  EXPECT_ERROR(bad("paths: [a]\nfields: {chosen: c}"), "belong together");
  EXPECT_ERROR(bad("paths: [a]\nfields: {assistant: c, transcript: d}"), "name one of");
  EXPECT_ERROR(bad("paths: [a]\nfields: {messages: [m], roles: {a: bot}}"), "the role of 'a' must be");
  EXPECT_ERROR(bad("paths: [a]\nformat: openai"), "must be one of auto, messages");
}

}  // namespace
}  // namespace decant
