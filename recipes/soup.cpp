// decant soup: adapters of one base added up exactly, cut to a rank.
#include "lora/soup.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <filesystem>
#include <memory>

#include "core/adapter_file.h"
#include "core/file.h"
#include "core/log.h"
#include "recipes/verbs.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

// "FOLDER" or "FOLDER=0.5".
std::pair<Adapter, double> weighted_adapter(const std::string& text) {
  std::string folder = text;
  double weight = 1;
  if (const size_t at = text.rfind('='); at != std::string::npos && !fs::exists(text)) {
    folder = text.substr(0, at);
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + at + 1, end, weight);
    check(error == std::errc() && stop == end, "soup: '", text,
          "': expected FOLDER=WEIGHT with a number as the weight, such as adapters/acme=0.5");
  }
  return {read_adapter(folder), weight};
}

Exit run_soup(const fs::path& out, const std::vector<std::string>& parts, int64_t rank) {
  check(!fs::exists(out), out.string(), ": exists already; choose another folder or remove it first");
  std::vector<std::pair<Adapter, double>> adapters;
  for (const auto& part : parts) adapters.push_back(weighted_adapter(part));
  SoupReport report;
  const Adapter sum = soup(adapters, rank, &report);
  write_folder(out, [&](const fs::path& folder) { write_adapter(folder, sum); });
  print(soup_report_text(report));
  log_info("wrote ", out.string());
  return Exit::kFinished;
}

}  // namespace

void add_soup(CLI::App& app, Action& action) {
  auto* verb = app.add_subcommand("soup", "adapters of one base added up exactly, cut to a rank");
  auto out = std::make_shared<std::string>();
  auto parts = std::make_shared<std::vector<std::string>>();
  auto rank = std::make_shared<int64_t>(0);
  verb->add_option("OUT", *out, "folder to write")->required();
  verb->add_option("ADAPTER", *parts, "PEFT folders, each as FOLDER or FOLDER=WEIGHT")->required();
  verb->add_option("--rank", *rank,
                   "cut the sum to this rank, the best there is (default: all ranks are kept)")
      ->check(CLI::Range(int64_t{1}, int64_t{4096}));
  verb->callback([=, &action] { action = [=] { return run_soup(*out, *parts, *rank); }; });
}

}  // namespace decant
