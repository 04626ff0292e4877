#include "recipes/training_report.h"

#include <cmath>
#include <functional>
#include <limits>
#include <map>

#include "core/error.h"
#include "core/file.h"
#include "core/html_page.h"
#include "core/json.h"
#include "recipes/training_samples.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

constexpr size_t kMostLines = 8;  // in one plot

// The lines that are whole: a kill may have cut the last one of timing.jsonl.
void each_line(const fs::path& file, const std::function<void(const Json&)>& visit) {
  if (!fs::exists(file)) return;
  const std::string text = read_file(file);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const Json line = Json::parse(text.substr(begin, end - begin), nullptr, /*allow_exceptions=*/false);
    if (line.is_object() && line.contains("step") && line["step"].is_number_integer()) visit(line);
    begin = end + 1;
  }
}

// By name: y by step. A step that was run again counts as it was last.
using Curves = std::map<std::string, std::map<int64_t, double>>;

void note(Curves& curves, const Json& line, const std::string& key, const std::string& name) {
  if (!line.contains(key)) return;
  const Json& value = line[key];
  if (value.is_number() || value.is_null())
    curves[name][line["step"].get<int64_t>()] =
        value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
}

Curves read_curves(const fs::path& folder) {
  Curves curves;
  each_line(folder / "metrics.jsonl", [&](const Json& line) {
    if (!line.contains("probe")) {
      for (const auto& [key, value] : line.items())
        if (key != "step" && key != "refused") note(curves, line, key, key);
      return;
    }
    const Json& probe = line["probe"];
    const auto held_out = [&](const Json& of, const std::string& name) {
      if (of.is_object() && of.contains("held_out_loss") && of["held_out_loss"].is_number())
        curves[name][line["step"].get<int64_t>()] = of["held_out_loss"].get<double>();
    };
    held_out(probe, "held_out/all");
    for (const char* kind : {"tenants", "sources"})
      if (probe.contains(kind) && probe[kind].is_object())
        for (const auto& [name, of] : probe[kind].items()) held_out(of, concat("held_out/", kind, "/", name));
  });
  each_line(folder / "timing.jsonl", [&](const Json& line) {
    for (const char* key : {"tokens_per_second", "mfu", "resident_bytes"}) note(curves, line, key, key);
  });
  return curves;
}

PlotLine line_of(const Curves& curves, const std::string& key, const std::string& name, double unit = 1) {
  PlotLine line{name, {}};
  if (const auto found = curves.find(key); found != curves.end())
    for (const auto& [step, y] : found->second) line.points.emplace_back(static_cast<double>(step), y / unit);
  return line;
}

std::string plot(const Curves& curves, const std::string& title, const std::string& key, double unit = 1) {
  return line_plot(title, "step", {line_of(curves, key, "", unit)});
}

// The curves below a prefix, as far as they are few enough to tell apart.
std::string plot_below(const Curves& curves, const std::string& title, const std::string& prefix) {
  std::vector<PlotLine> lines;
  for (const auto& [key, points] : curves)
    if (key.starts_with(prefix) && lines.size() < kMostLines)
      lines.push_back(line_of(curves, key, key.substr(prefix.size())));
  return lines.size() < 2 ? "" : line_plot(title, "step", lines);
}

std::string figures_table(const fs::path& folder) {
  if (!fs::exists(folder / "speed.json")) return {};
  std::string out = "<table>\n";
  const Json speed = read_json(folder / "speed.json");
  for (const auto& [name, value] : speed.items())
    out +=
        "<tr><td>" + escape_html(name) + "</td><td class=\"n\">" + escape_html(value.dump()) + "</td></tr>\n";
  return out + "</table>\n";
}

std::string samples_of(const fs::path& folder) {
  if (!fs::exists(folder / kSamplesFile)) return {};
  const Json samples = read_json(folder / kSamplesFile);
  std::string out = "<h2>Samples</h2>\n<p>Greedy answers to held-out questions.</p>\n";
  const Json &questions = samples.at("questions"), &answers = samples.at("answers");
  for (size_t i = 0; i < questions.size(); ++i) {
    out += "<h3>" + escape_html(questions[i].at("tenant").get<std::string>()) + "</h3>\n<div class=\"doc\">" +
           escape_html(questions[i].at("question").get<std::string>()) + "</div>\n<table>\n";
    for (const auto& [when, texts] : answers.items())
      if (i < texts.size())
        out += "<tr><td>" + escape_html(when) + "</td><td>" + escape_html(texts[i].get<std::string>()) +
               "</td></tr>\n";
    out += "</table>\n";
  }
  return out;
}

}  // namespace

void write_training_report(const std::string& title, const fs::path& folder) {
  const Curves curves = read_curves(folder);
  std::string page = html_page_begin(title) + figures_table(folder) + "<h2>Curves</h2>\n";
  std::vector<PlotLine> losses = {line_of(curves, "loss", "training")};
  if (curves.contains("held_out/all")) losses.push_back(line_of(curves, "held_out/all", "held out"));
  page += line_plot("loss", "step", losses);
  page += plot_below(curves, "held-out loss by tenant", "held_out/tenants/");
  page += plot_below(curves, "held-out loss by source", "held_out/sources/");
  page += plot(curves, "learning rate", "learning_rate");
  page += plot(curves, "gradient norm, before clipping", "grad_norm");
  for (const auto& [key, points] : curves)
    if (!key.starts_with("held_out/") && key != "loss" && key != "learning_rate" && key != "grad_norm" &&
        key != "tokens_per_second" && key != "mfu" && key != "resident_bytes" && key != "weight" &&
        key != "tokens")
      page += plot(curves, key, key);
  page += plot(curves, "tokens a second", "tokens_per_second");
  page += plot(curves, "MFU (share of the measured rate of matrix products)", "mfu");
  page += plot(curves, "resident memory (GB)", "resident_bytes", 1e9);
  write_file(folder / "report.html", page + samples_of(folder) + html_page_end());
}

}  // namespace decant
