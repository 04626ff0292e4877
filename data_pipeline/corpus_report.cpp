#include "data_pipeline/corpus_report.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "core/error.h"
#include "core/html_page.h"
#include "data_pipeline/unicode.h"

namespace decant {

namespace {

constexpr size_t kShownTokens = 600;
std::string number(const Json& value) {
  if (value.is_number_float()) {
    char text[32];
    std::snprintf(text, sizeof text, "%.4g", value.get<double>());
    return text;
  }
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string checks_table(const Json& checks) {
  std::string out = "<table><tr><th>bound</th><th>found</th><th>allowed</th><th></th></tr>\n";
  for (const Json& c : checks) {
    const bool ok = c.at("ok").get<bool>();
    const auto name = c.at("name").get<std::string>();
    out += concat("<tr", ok ? "" : " class=\"bad\"", "><td>", escape_html(name), "</td><td class=\"n\">",
                  number(c.at("found")), "</td><td class=\"n\">", name.starts_with("min") ? "&ge; " : "&le; ",
                  number(c.at("bound")), "</td><td>", ok ? "holds" : "broken", "</td></tr>\n");
  }
  return out + "</table>\n";
}

// Horizontal bars, the longest first unless the names are ordered themselves.
std::string bars(const std::string& title, const Json& counts, bool by_count) {
  std::vector<std::pair<std::string, int64_t>> rows;
  int64_t most = 1;
  for (const auto& [name, n] : counts.items()) {
    rows.emplace_back(name, n.get<int64_t>());
    most = std::max(most, rows.back().second);
  }
  if (by_count)
    std::stable_sort(rows.begin(), rows.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
  if (rows.size() > 40) rows.resize(40);
  constexpr int64_t kLine = 18, kLeft = 190, kWidth = 480;
  std::string out = concat("<h3>", escape_html(title), "</h3>\n<svg width=\"", kLeft + kWidth + 100,
                           "\" height=\"", kLine * static_cast<int64_t>(rows.size()) + 4,
                           "\" font-family=\"sans-serif\" font-size=\"12\">\n");
  for (size_t i = 0; i < rows.size(); ++i) {
    const int64_t y = kLine * static_cast<int64_t>(i);
    const int64_t width = std::max<int64_t>(1, rows[i].second * kWidth / most);
    out += concat("<text x=\"", kLeft - 6, "\" y=\"", y + 13, "\" text-anchor=\"end\">",
                  escape_html(rows[i].first), "</text><rect x=\"", kLeft, "\" y=\"", y + 3, "\" width=\"",
                  width, "\" height=\"12\" fill=\"#4a7ab5\"/><text x=\"", kLeft + width + 5, "\" y=\"",
                  y + 13, "\">", rows[i].second, "</text>\n");
  }
  return out + "</svg>\n";
}

// Names of length buckets are their lower bounds with leading zeros.
Json with_bucket_names(const Json& counts) {
  Json named = Json::object();
  for (const auto& [name, n] : counts.items()) {
    const uint64_t low = std::stoull(name);
    named[low <= 1 ? std::to_string(low) : concat(low, "-", 2 * low - 1)] = n;
  }
  return named;
}

std::string counts_table(const Json& counts) {
  std::string out = "<table>\n";
  for (const auto& [name, value] : counts.items())
    if (value.is_number())
      out += "<tr><td>" + escape_html(name) + "</td><td class=\"n\">" + number(value) + "</td></tr>\n";
  out += "</table>\n";
  for (const auto& [key, title] : {std::pair("tenants", "tenant"), std::pair("sources", "source")}) {
    if (!counts.contains(key)) continue;
    out += concat("<table><tr><th>", title, "</th>");
    std::vector<std::string> columns;
    for (const auto& [row, of] : counts[key].items())
      for (const auto& [name, value] : of.items())
        if (value.is_number() && std::find(columns.begin(), columns.end(), name) == columns.end())
          columns.push_back(name);
    for (const std::string& name : columns) out += "<th>" + escape_html(name) + "</th>";
    out += "</tr>\n";
    for (const auto& [row, of] : counts[key].items()) {
      out += "<tr><td>" + escape_html(row) + "</td>";
      for (const std::string& name : columns)
        out += "<td class=\"n\">" + (of.contains(name) ? number(of[name]) : "") + "</td>";
      out += "</tr>\n";
    }
    out += "</table>\n";
  }
  return out;
}

std::string row_of(std::initializer_list<Json> cells) {
  std::string out = "<tr>";
  for (const Json& cell : cells)
    out += concat(cell.is_number() ? "<td class=\"n\">" : "<td>", escape_html(number(cell)), "</td>");
  return out + "</tr>\n";
}

// What is trained on, source by source.
std::string mix_table(const Json& counts) {
  std::string out =
      "<table><tr><th>tenant</th><th>source</th><th>documents</th><th>copies</th><th>tokens</th>"
      "<th>replayed documents</th><th>replayed share of tokens</th></tr>\n";
  const Json& mix = counts.at("mix");
  const auto line = [](const std::string& tenant, const std::string& source, const Json& of) {
    const double tokens = of.at("tokens").get<double>();
    return row_of({tenant, source, of.at("documents"), of.at("copies"), of.at("tokens"),
                   of.at("replayed_documents"),
                   tokens == 0 ? 0.0 : of.at("replayed_tokens").get<double>() / tokens});
  };
  for (const auto& [tenant, of] : mix.at("tenants").items()) {
    for (const auto& [source, amount] : of.at("sources").items()) out += line(tenant, source, amount);
    if (of.at("sources").size() > 1) out += line(tenant, "all", of);
  }
  out += "</table>\n";
  if (!mix.at("replay_left_out").empty())
    out += bars("not replayed, by reason", mix["replay_left_out"], true);
  return out;
}

std::string canned_table(const Json& counts) {
  std::string out;
  for (const auto& [tenant, of] : counts.at("canned_replies").items())
    for (const Json& reply : of.at("list"))
      out += row_of({tenant, reply.at("reply"), reply.at("conversations"), reply.at("count"),
                     reply.at("muted"), reply.at("document")});
  if (out.empty()) return out;
  return "<h3>Canned replies</h3>\n<table><tr><th>tenant</th><th>reply</th><th>conversations</th>"
         "<th>occurrences</th><th>without weight</th><th>for instance in</th></tr>\n" +
         out + "</table>\n";
}

// Some of a document's tokens one by one, darker green for more weight; tokens that hold parts of one
// character stay together.
std::string coloured(const CorpusDocuments& documents, uint64_t index, uint32_t first, uint32_t count,
                     const Tokenizer& tokenizer) {
  const StoredDocument document = documents.get(index);
  const size_t shown = std::min<size_t>(count, kShownTokens);
  std::vector<uint32_t> tokens(count);
  std::vector<uint8_t> weights(count);
  documents.copy_tokens(index, document, first, count, tokens.data(), weights.data());
  std::string out;
  std::vector<int64_t> open;
  uint8_t weight = 0;
  for (size_t t = 0; t < shown; ++t) {
    open.push_back(tokens[t]);
    weight = std::max(weight, weights[t]);
    std::string text = tokenizer.decode(open);
    if (valid_utf8_prefix(text) != text.size() && t + 1 < shown && open.size() < 8) continue;
    text = escape_html(repair_utf8(text));
    if (weight == 0)
      out += "<span>" + text + "</span>";
    else
      out += concat("<span style=\"background:rgba(40,160,60,", number(0.12 + 0.38 * weight / 255), ")\">",
                    text, "</span>");
    open.clear();
    weight = 0;
  }
  if (shown < count) out += concat(" ... (", count - shown, " more tokens)");
  return out;
}

// A box for the document, or for each of its parts.
std::string shown_document(const CorpusDocuments& documents, uint64_t index, const Tokenizer& tokenizer) {
  std::string out;
  uint32_t first = 0;
  for (const uint32_t count : documents.get(index).part_tokens()) {
    out += "<div class=\"doc\">" + coloured(documents, index, first, count, tokenizer) + "</div>\n";
    first += count;
  }
  return out;
}

const char* judged_text(JudgedAnswers judged) {
  switch (judged) {
    case JudgedAnswers::kNone:
      return "";
    case JudgedAnswers::kChosen:
      return ", a wanted answer";
    case JudgedAnswers::kRejected:
      return ", an unwanted answer";
    case JudgedAnswers::kPair:
      return ", a pair: chosen, rejected";
  }
  return "";
}

}  // namespace

std::string corpus_report(const std::string& title, const Json& counts, const Json& contract,
                          const CorpusDocuments& documents, const Tokenizer& tokenizer) {
  std::string out = html_page_begin(title);
  out += "<h2>Contract</h2>\n" + checks_table(contract.at("checks"));
  out += "<h2>Counts</h2>\n" + counts_table(counts);
  out += "<h2>Mix</h2>\n" + mix_table(counts) + canned_table(counts);
  const Json& d = contract.at("distributions");
  out += "<h2>Distributions</h2>\n";
  out += bars("language of kept documents", d.at("language"), true);
  out += bars("tokens of a kept document", with_bucket_names(d.at("tokens")), false);
  out += bars("messages of a kept document", with_bucket_names(d.at("messages")), false);
  out += bars("documents of a tenant", d.at("tenant"), true);
  out += bars("not kept, by reason", d.at("reason"), true);
  if (counts.contains("pii")) out += bars("personal data replaced", counts["pii"], true);
  if (contract.at("drift").is_object()) {
    out += "<h3>Drift from last month (total variation distance)</h3>\n<table>\n";
    for (const auto& [name, value] : contract["drift"].items())
      out += "<tr><td>" + escape_html(name) + "</td><td class=\"n\">" + number(value) + "</td></tr>\n";
    out += "</table>\n";
  }
  out += "<h2>Sampled documents</h2>\n<p>Green tokens are under loss, the darker the more.</p>\n";
  for (const Json& index : contract.at("samples")) {
    const auto i = index.get<uint64_t>();
    const StoredDocument document = documents.get(i);
    const StoreRow& row = document.row();
    const MutedDocument* muted = documents.muted(i);
    out += concat("<div>", escape_html(document.id()), " (", escape_html(documents.store().name(row.tenant)),
                  ", ", row.tokens, " tokens, ", muted == nullptr ? row.target_tokens : muted->target_tokens,
                  " under loss", judged_text(judged_answers(row)), ")</div>\n",
                  shown_document(documents, i, tokenizer));
  }
  return out + html_page_end();
}

}  // namespace decant
