// The table at the end of a run, as text and as a page.
#include <algorithm>
#include <cstdio>

#include "core/file.h"
#include "core/html_page.h"
#include "core/json.h"
#include "recipes/chain.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string bytes_text(uint64_t bytes) {
  const char* units[] = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1000 && unit < 4) value /= 1000, ++unit;
  return fixed(value, unit == 0 ? 0 : 1) + " " + units[unit];
}

uint64_t size_of(const fs::path& path) {
  if (fs::is_regular_file(path)) return fs::file_size(path);
  uint64_t sum = 0;
  if (fs::is_directory(path))
    for (const auto& entry : fs::recursive_directory_iterator(path))
      if (entry.is_regular_file()) sum += entry.file_size();
  return sum;
}

// A count that may be a number or an object of numbers by kind.
std::string count_text(const Json& json) {
  if (json.is_number_integer()) return std::to_string(json.get<int64_t>());
  if (!json.is_object()) return json.is_null() ? "0" : json.dump();
  int64_t sum = 0;
  std::string kinds;
  for (const auto& [kind, n] : json.items()) {
    if (!n.is_number_integer()) continue;
    sum += n.get<int64_t>();
    if (n.get<int64_t>() != 0)
      kinds += (kinds.empty() ? "" : ", ") + kind + " " + std::to_string(n.get<int64_t>());
  }
  return std::to_string(sum) + (kinds.empty() ? "" : " (" + kinds + ")");
}

ReportSection corpus_section(const Json& counts) {
  ReportSection section{"corpus", {{"conversations", "count"}}};
  const std::pair<const char*, const char*> rows[] = {{"in", "in"},
                                                      {"duplicate", "duplicate"},
                                                      {"near_duplicate", "near duplicate"},
                                                      {"dropped", "dropped"},
                                                      {"quarantined", "quarantined"},
                                                      {"pii", "PII replaced"},
                                                      {"kept", "kept"},
                                                      {"train", "train"},
                                                      {"held_out", "held out"},
                                                      {"replayed", "replayed"},
                                                      {"tokens", "tokens"}};
  for (const auto& [key, label] : rows)
    if (counts.contains(key) && (std::string(key) != "replayed" || counts[key] != 0))
      section.rows.push_back({label, count_text(counts[key])});
  return section;
}

ReportSection bits_section(const Recipe& recipe, const Json& evaluation) {
  ReportSection section{"held-out bits per byte", {{"model"}}};
  for (const auto& [tenant, of] : evaluation["tenants"].items()) section.rows[0].push_back(tenant);
  section.rows[0].emplace_back("all");
  const std::pair<const char*, const char*> models[] = {{"base", "base"},
                                                        {"start", "student before"},
                                                        {"student", "student"},
                                                        {"train", "trained"},
                                                        {"adapter", "with adapter"}};
  for (const auto& [key, label] : models) {
    std::vector<std::string> row = {label};
    if (std::string(key) == "adapter" && recipe.distill && recipe.lora && recipe.lora->model == "@distill")
      row[0] = "student + adapter";
    bool any = false;
    for (const auto& [tenant, of] : evaluation["tenants"].items()) {
      any = any || of.contains(key);
      row.push_back(of.contains(key) ? fixed(of[key].get<double>(), 4) : "-");
    }
    row.push_back(evaluation["all"].contains(key) ? fixed(evaluation["all"][key].get<double>(), 4) : "-");
    if (any) section.rows.push_back(std::move(row));
  }
  return section;
}

ReportSection training_section(const Chain& chain) {
  ReportSection section{"training", {{"step", "tokens", "tokens/s", "first loss", "last loss"}}};
  for (const auto& [step, figures] : chain.figures) {
    if (!figures.contains("first_loss")) continue;
    const fs::path speed = chain.run.step_path(step) / "speed.json";
    const std::string rate =
        fs::exists(speed) ? fixed(read_json(speed)["tokens_per_second"].get<double>(), 0) : "-";
    section.rows.push_back({step, count_text(figures["tokens"]), rate,
                            fixed(figures["first_loss"].get<double>(), 4),
                            fixed(figures["last_loss"].get<double>(), 4)});
  }
  return section;
}

ReportSection artefact_section(const Chain& chain) {
  ReportSection section{"artefacts", {{"what", "size", "where"}}};
  const auto add = [&](const std::string& what, const fs::path& path) {
    if (fs::exists(path)) section.rows.push_back({what, bytes_text(size_of(path)), path.string()});
  };
  add("base", chain.model_folder);
  add("corpus", chain.run.step_path("corpus"));
  if (chain.recipe.distill) add("student", chain.run.step_path("distill/student") / "model");
  if (chain.recipe.train) add("trained model", chain.run.step_path("train/model") / "model");
  if (chain.recipe.lora)
    for (const auto& tenant : chain.adapter_tenants())
      add("adapter " + tenant, chain.run.step_path("lora/" + tenant) / "adapter");
  if (chain.recipe.export_) {
    const fs::path release = chain.run.step_path("export") / chain.recipe.export_->files.name;
    if (fs::is_directory(release)) {
      std::vector<fs::path> entries;
      for (const auto& entry : fs::directory_iterator(release)) entries.push_back(entry.path());
      std::sort(entries.begin(), entries.end());
      for (const auto& path : entries) add("release: " + path.filename().string(), path);
    }
  }
  add("report", chain.run.path() / "report.html");
  add("log", chain.run.path() / "log.jsonl");
  return section;
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

// Columns on a terminal: code points, wide for the East Asian ones.
size_t columns(const std::string& text) {
  size_t n = 0;
  for (const unsigned char c : text) n += (c & 0xC0) != 0x80 ? (c >= 0xE3 && c < 0xF0 ? 2 : 1) : 0;
  return n;
}

}  // namespace

std::vector<ReportSection> make_report(const Chain& chain) {
  std::vector<ReportSection> report;
  if (chain.figures.count("corpus") != 0) report.push_back(corpus_section(chain.figures.at("corpus")));
  if (chain.figures.count("evaluate") != 0)
    report.push_back(bits_section(chain.recipe, chain.figures.at("evaluate")));
  ReportSection training = training_section(chain);
  if (training.rows.size() > 1) report.push_back(std::move(training));
  report.push_back(artefact_section(chain));
  const fs::path sample = chain.run.step_path("evaluate") / "sample.json";
  if (chain.figures.count("evaluate") != 0 && fs::exists(sample)) {
    const Json json = read_json(sample);
    ReportSection section{"one sample answer", {{"tenant", json["tenant"].get<std::string>()}}};
    for (const char* key : {"question", "before", "after"})
      if (json.contains(key)) section.rows.push_back({key, one_line(json[key].get<std::string>())});
    report.push_back(std::move(section));
  }
  return report;
}

std::string report_text(const std::vector<ReportSection>& report) {
  std::string out;
  for (const auto& section : report) {
    out += "\n" + section.title + "\n";
    std::vector<size_t> width;
    for (const auto& row : section.rows)
      for (size_t i = 0; i < row.size(); ++i) {
        width.resize(std::max(width.size(), i + 1));
        width[i] = std::max(width[i], columns(row[i]));
      }
    for (const auto& row : section.rows) {
      out += " ";
      for (size_t i = 0; i < row.size(); ++i) {
        out += " " + row[i];
        if (i + 1 < row.size()) out += std::string(width[i] - columns(row[i]) + 1, ' ');
      }
      out += "\n";
    }
  }
  return out;
}

std::string report_html(const std::string& title, const std::vector<ReportSection>& report) {
  std::string out = html_page_begin(title);
  for (const auto& section : report) {
    out += "<h2>" + escape_html(section.title) + "</h2>\n<table>\n";
    for (size_t r = 0; r < section.rows.size(); ++r) {
      const char* cell = r == 0 ? "th" : "td";
      out += "<tr>";
      for (const auto& text : section.rows[r])
        out += concat("<", cell, ">", escape_html(text), "</", cell, ">");
      out += "</tr>\n";
    }
    out += "</table>\n";
  }
  return out + html_page_end();
}

}  // namespace decant
