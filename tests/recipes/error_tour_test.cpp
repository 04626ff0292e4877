// The error tour: wrong inputs, each with the text and the exit status that a user gets. With
// DECANT_ERROR_TABLE set to a file, it writes the table that the README shows.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "tests/support/run_decant.h"
#include "tests/support/shared.h"

namespace decant::test {
namespace {

namespace fs = std::filesystem;

// A folder with the tiny recipe and, made by its first step, a model folder to damage.
class ErrorTour : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = scratch_folder();
    fs::copy("recipes/tiny", folder_ / "tiny", fs::copy_options::recursive);
    text_ = slurp(folder_ / "tiny/monthly.yaml");
    const Ran ran = decant({"prepare", "tiny/monthly.yaml"});
    ASSERT_EQ(ran.status, 0) << ran.err;
    model_ = folder_ / "runs/tiny/2026-10/model/model";
  }
  Ran decant(const std::vector<std::string>& arguments, RunOptions options = {}) const {
    options.folder = folder_;
    std::vector<std::string> words = arguments;
    words.insert(words.end(), {"--threads", "1"});
    return run_decant(words, options);
  }
  // The recipe with one text replaced; its path.
  std::string edited(const std::string& from, const std::string& to) const {
    std::string text = text_;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    spill(folder_ / "tiny/edited.yaml", text);
    return "tiny/edited.yaml";
  }
  // The model's folder, to be damaged; used as model.path.
  fs::path copy_of_model(const std::string& name) const {
    fs::copy(model_, folder_ / name, fs::copy_options::recursive);
    return folder_ / name;
  }
  void expect(const char* what, const Ran& ran, int status, const std::string& text) {
    ++seen_;
    EXPECT_EQ(ran.status, status) << what << ": " << ran.err;
    EXPECT_THAT(ran.err, ::testing::HasSubstr(text)) << what;
    EXPECT_THAT(ran.err, ::testing::HasSubstr("error: ")) << what;
    EXPECT_THAT(ran.err, ::testing::Not(::testing::HasSubstr("internal error"))) << what;
    if (const char* table = std::getenv("DECANT_ERROR_TABLE")) {
      std::string line = ran.err.substr(std::min(ran.err.find("error: "), ran.err.size()));
      line = line.substr(0, line.find('\n'));
      for (size_t at; (at = line.find(folder_.string() + "/")) != std::string::npos;)
        line.erase(at, folder_.string().size() + 1);
      std::ofstream(table, std::ios::app) << "| " << what << " | `" << line << "` | " << ran.status << " |\n";
    }
  }
  fs::path folder_, model_;
  std::string text_;
  int seen_ = 0;
};

TEST_F(ErrorTour, EveryMistakeHasItsTextAndStatus) {
  expect("unknown key", decant({"run", edited("  rank: 8", "  rnak: 8")}), 1,
         "unknown key 'lora.rnak' (did you mean 'lora.rank'?)");
  expect("wrong type", decant({"run", edited("rank: 8", "rank: no")}), 1,
         "'lora.rank' must be a whole number, found 'no'");
  expect("missing recipe", decant({"run", "nowhere.yaml"}), 1, "nowhere.yaml");
  expect("bad YAML", decant({"run", edited("name: tiny", "name: [tiny")}), 1, "not valid YAML");
  expect("duplicate key", decant({"run", edited("name: tiny", "name: tiny\nname: tiny")}), 1,
         "the key 'name' stands twice");
  expect("period missing", decant({"run", edited("period: 2026-10\n", "")}), 1, "'period' is missing");
  expect("bad override", decant({"run", "tiny/monthly.yaml", "lora.rank"}), 1, "expected key=value");
  expect("unknown verb", decant({"rnu", "tiny/monthly.yaml"}), 2, "unknown verb 'rnu' (did you mean 'run'?)");
  expect("step not done", decant({"lora", "tiny/monthly.yaml"}), 1, "run: decant distill tiny/monthly.yaml");
  expect("corpus input missing", decant({"run", edited("corpus/*.jsonl", "korpus/*.jsonl")}), 1,
         "korpus/*.jsonl");
  spill(folder_ / "tiny/empty.jsonl", "");
  expect("empty corpus", decant({"run", edited("corpus/*.jsonl", "empty.jsonl"), "name=empty"}), 1,
         "no record in 1 files");
  expect("unknown tenant", decant({"run", edited("[acme, zen]", "[acme, zenn]")}), 1,
         "no tenant 'zenn' (did you mean 'zen'?)");
  expect("bad target", decant({"run", "tiny/monthly.yaml", "lora.targets=[q_porj]"}), 1,
         "'q_porj' (did you mean 'q_proj'?)");
  expect("layer that is not there",
         decant({"run", "tiny/monthly.yaml", "distill.student.keep_layers=[0, 9]"}), 1,
         "the teacher has no layer 9; its layers are 0 to 3");

  const auto with_model = [&](const fs::path& path) {
    return decant({"run", edited("name: tiny", "name: damaged"), "model={path: " + path.string() + "}"});
  };
  fs::path broken = copy_of_model("truncated");
  fs::resize_file(broken / "model.safetensors", fs::file_size(broken / "model.safetensors") - 100);
  expect("truncated safetensors", with_model(broken), 1, "model.safetensors");
  expect("truncated safetensors", decant({"inspect", (broken / "model.safetensors").string()}), 1,
         "model.safetensors");

  broken = copy_of_model("missing_shard");
  fs::remove(broken / "model.safetensors");
  spill(
      broken / "model.safetensors.index.json",
      R"({"metadata": {"total_size": 8}, "weight_map": {"model.norm.weight": "model-00001-of-00001.safetensors"}})");
  expect("missing shard", with_model(broken), 1, "model-00001-of-00001.safetensors");

  broken = copy_of_model("nan");
  std::string weights = slurp(broken / "model.safetensors");
  weights.replace(weights.size() - 2, 2, "\xff\x7f");  // a bf16 NaN
  spill(broken / "model.safetensors", weights);
  expect("NaN weights", decant({"score", broken.string()}, {{}, "[1, 2]\n"}), 1, "not finite");

  broken = copy_of_model("other_tokenizer");
  std::string config = slurp(broken / "config.json");
  const size_t at = config.find("\"vocab_size\": 448");
  ASSERT_NE(at, std::string::npos);
  config.replace(at, 17, "\"vocab_size\": 400");
  spill(broken / "config.json", config);
  expect("tokenizer of another model", with_model(broken), 1, "they do not belong together");

  broken = copy_of_model("broken_template");
  std::string settings = slurp(broken / "tokenizer_config.json");
  spill(broken / "chat_template.jinja", "\n{% for m in messages %}");
  fs::remove(broken / "tokenizer_config.json");
  expect("template that does not parse", with_model(broken), 1, "line 2: unexpected end of template");

  spill(folder_ / "short.gguf", std::string("GGUF\x03\0\0\0\x05\0\0\0", 12));
  expect("truncated GGUF", decant({"inspect", "short.gguf"}), 1, "short.gguf");

  expect("bad id", decant({"score", model_.string()}, {{}, "[1, 99999]\n"}), 1,
         "outside the model's vocabulary");
  expect("bad line", decant({"tokenize", model_.string()}, {{}, "{\n"}), 1, "1");
  RunOptions full;
  full.output = "/dev/full";
  expect("full disk behind standard output", decant({"help"}, full), 75, "No space left on device");
  RunOptions limited;
  limited.largest_file = 20000;
  expect("full disk", decant({"run", "tiny/monthly.yaml", "name=full"}, limited), 75, "full");

  const int lock = ::open((folder_ / "runs/tiny/2026-10/.lock").c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_EQ(::flock(lock, LOCK_EX | LOCK_NB), 0);
  expect("locked run directory", decant({"run", "tiny/monthly.yaml"}), 75,
         "another run holds this directory");
  ::close(lock);
  EXPECT_GE(seen_, 25);
}

}  // namespace
}  // namespace decant::test
