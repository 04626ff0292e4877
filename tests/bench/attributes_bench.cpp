// Speed of language identification, of the heuristics (quality, repetition) and of all attributes but the
// exact key, on one thread, in megabytes a second of user time (best and median of the rounds, alternatives
// interleaved); with libcld2-dev also CLD2's, and both sides' share of right languages where the lines say
// which is right.
//
//   attributes_bench DOCUMENTS.jsonl [ROUNDS]
//
// One JSON string a line, or an object {"language": "zh", "text": "..."} (tests/bench/peers/language_lines.py
// makes them). Prints one JSON object.
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#ifdef DECANT_HAVE_CLD2
#include <cld2/public/compact_lang_det.h>
#include <cld2/public/encodings.h>
#endif

#include "core/json.h"
#include "data_pipeline/attributes.h"
#include "data_pipeline/language.h"

namespace {

double user_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec) + static_cast<double>(usage.ru_utime.tv_usec) * 1e-6;
}

struct Document {
  std::string language, text;
};

std::vector<Document> read_documents(const char* path) {
  std::vector<Document> documents;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (line.empty()) continue;
    const auto json = decant::Json::parse(line);
    if (json.is_string()) {
      documents.push_back({"", json.get<std::string>()});
    } else {
      documents.push_back({json.value("language", ""), json["text"].get<std::string>()});
    }
  }
  return documents;
}

#ifdef DECANT_HAVE_CLD2
std::string cld2(const std::string& text, bool best_effort) {
  bool reliable = false;
  CLD2::Language language;
  if (best_effort) {
    CLD2::Language three[3];
    int percent[3], bytes = 0;
    double score[3];
    const CLD2::CLDHints hints{nullptr, nullptr, CLD2::UNKNOWN_ENCODING, CLD2::UNKNOWN_LANGUAGE};
    language = CLD2::ExtDetectLanguageSummary(text.data(), static_cast<int>(text.size()), true, &hints,
                                              CLD2::kCLDFlagBestEffort, three, percent, score, nullptr,
                                              &bytes, &reliable);
  } else {
    language = CLD2::DetectLanguage(text.data(), static_cast<int>(text.size()), true, &reliable);
  }
  const std::string code = CLD2::LanguageCode(language);
  return code == "zh-Hant" ? "zh" : code;
}
#endif

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 2) {
    std::fprintf(stderr, "usage: attributes_bench DOCUMENTS.jsonl [ROUNDS]\n");
    return 2;
  }
  const auto documents = read_documents(argv[1]);
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 7;
  size_t bytes = 0;
  for (const Document& d : documents) bytes += d.text.size();

  using Detect = std::function<std::string(const std::string&)>;
  std::map<std::string, Detect> detectors = {
      {"language", [](const std::string& text) { return std::string(decant::detect_language(text).code); }}};
#ifdef DECANT_HAVE_CLD2
  detectors["cld2"] = [](const std::string& text) { return cld2(text, false); };
  detectors["cld2_best_effort"] = [](const std::string& text) { return cld2(text, true); };
#endif
  decant::Json out = {{"documents", documents.size()}, {"bytes", bytes}};
  for (const auto& [name, detect] : detectors) {
    size_t known = 0, right = 0;
    for (const Document& d : documents) {
      if (d.language.empty()) continue;
      ++known;
      right += detect(d.text) == d.language;
    }
    if (known > 0) out[name]["right"] = static_cast<double>(right) / static_cast<double>(known);
  }

  decant::TextScan scan;
  decant::RepetitionMeter meter;
  decant::AttributeMeter attribute_meter;
  double sink = 0;
  std::map<std::string, std::function<void(const Document&)>> work = {
      {"heuristics",
       [&](const Document& d) {
         scan.scan(d.text);
         sink += static_cast<double>(decant::measure_quality(scan).words + meter.measure(scan).dup_5gram);
       }},
      {"attributes", [&](const Document& d) {
         decant::Conversation conversation;
         conversation.messages.resize(1);
         conversation.messages[0].role = "user";
         conversation.messages[0].content = d.text;
         sink += static_cast<double>(attribute_meter.measure(conversation, std::string(64, '0')).bytes);
       }}};
  for (const auto& [name, detect] : detectors)
    work[name] = [&sink, detect = detect](const Document& d) {
      sink += static_cast<double>(detect(d.text).size());
    };
  std::map<std::string, std::vector<double>> seconds;
  for (int round = 0; round < rounds; ++round) {
    for (const auto& [name, run] : work) {
      const int repeats = name == "language" ? 10 : 1;
      const double start = user_seconds();
      for (int r = 0; r < repeats; ++r)
        for (const Document& d : documents) run(d);
      seconds[name].push_back((user_seconds() - start) / repeats);
    }
  }
  for (auto& [name, times] : seconds) {
    std::sort(times.begin(), times.end());
    out[name]["mb_per_second"] = static_cast<double>(bytes) / times.front() / 1e6;
    out[name]["median_mb_per_second"] = static_cast<double>(bytes) / times[times.size() / 2] / 1e6;
  }
  std::printf("%s\n", out.dump().c_str());
  return sink < 0 ? 1 : 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "error: %s\n", e.what());
  return 1;
}
