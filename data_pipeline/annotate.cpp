#include "data_pipeline/annotate.h"

#include <array>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "core/error.h"
#include "data_pipeline/attributes.h"
#include "data_pipeline/near_duplicates.h"
#include "data_pipeline/pii.h"
#include "data_pipeline/record_parser.h"

namespace decant {

namespace {

// A line and what is known of it but for its duplicates.
struct Annotated {
  std::string id, tenant, error;
  Json json;
  std::array<uint64_t, 2> exact_key{};
  size_t root = 0;
};

// The conversation of a line; a text becomes the only message of one.
Conversation conversation_of(const Json& json, const std::string& fallback_id, bool& is_text) {
  is_text = json.is_string() || (json.is_object() && !json.contains("messages") && json.contains("text"));
  if (!is_text) {
    Conversation c = parse_conversation(json);
    if (!json.contains("id") || json["id"].is_null()) c.id = fallback_id;
    return c;
  }
  const Json& text = json.is_string() ? json : json["text"];
  check(text.is_string(), "'text' must be text");
  Conversation c;
  c.id = fallback_id;
  c.tenant = "default";
  if (json.is_object()) {
    if (json.contains("id") && json["id"].is_string()) c.id = json["id"].get<std::string>();
    if (json.contains("tenant") && json["tenant"].is_string()) c.tenant = json["tenant"].get<std::string>();
  }
  Message message;
  message.role = "assistant";
  message.content = text.get<std::string>();
  c.messages.push_back(std::move(message));
  return c;
}

Json pii_json(const Conversation& c, bool is_text) {
  Json spans = Json::array();
  for (size_t m = 0; m < c.messages.size(); ++m)
    for (const PiiSpan& span : find_pii(c.messages[m].content)) {
      Json json = Json::object();
      if (!is_text) json["message"] = m;
      json["type"] = std::string(pii_kind_name(span.kind));
      json["begin"] = span.begin;
      json["end"] = span.end;
      spans.push_back(std::move(json));
    }
  return spans;
}

// Documents, exact duplicates taken out, are compared tenant by tenant.
void find_roots(std::vector<Annotated>& lines,
                std::map<std::string, std::unique_ptr<NearDuplicates>>& tenants,
                std::map<std::string, std::vector<size_t>>& added) {
  for (auto& [tenant, near] : tenants) {
    const std::vector<size_t>& documents = added[tenant];
    for (const RemovedDocument& removed : near->resolve().removed)
      lines[documents[removed.document]].root = documents[removed.keeper];
  }
  for (Annotated& line : lines)  // of an exact duplicate: its first one's root
    if (line.error.empty()) line.root = lines[line.root].root;
}

}  // namespace

void annotate_lines(std::istream& in, const std::function<void(const Json&)>& out) {
  std::vector<Annotated> lines;
  std::map<std::string, std::unique_ptr<NearDuplicates>> tenants;
  std::map<std::string, std::vector<size_t>> added;
  std::map<std::array<uint64_t, 2>, size_t> first;
  AttributeMeter meter;
  std::string text;
  while (std::getline(in, text)) {
    const size_t number = lines.size();
    Annotated& line = lines.emplace_back();
    line.id = concat("line-", number + 1);
    line.root = number;
    try {
      if (!is_utf8(text)) fail("the line is not UTF-8");
      bool is_text = false;
      const Conversation c = conversation_of(parse_json(text, concat("line ", number + 1)), line.id, is_text);
      line.id = c.id;
      const Attributes attributes = meter.measure(c);
      line.json["language"] = attributes.language;
      line.json["language_score"] = attributes.language_score;
      line.json["pii"] = pii_json(c, is_text);
      Json quality = Json::object();
      Attributes::visit_numbers(attributes,
                                [&](const char* name, float value, const char*) { quality[name] = value; });
      quality.erase("language_score");
      quality.erase("pii_spans");
      line.json["quality"] = std::move(quality);
      const auto [place, fresh] = first.try_emplace(attributes.exact_key, number);
      line.root = place->second;
      if (!fresh) continue;
      auto& near = tenants[c.tenant];
      if (near == nullptr)
        near =
            std::make_unique<NearDuplicates>(NearDuplicateConfig{}, std::filesystem::temp_directory_path());
      const std::vector<std::string> texts = duplicate_texts(c);
      const std::vector<std::string_view> views(texts.begin(), texts.end());
      // Ids need not differ here, lines do: they are the order of precedence.
      std::string place_id = std::to_string(number);
      place_id.insert(0, 20 - place_id.size(), '0');
      near->add(place_id, "", std::span<const std::string_view>(views));
      added[c.tenant].push_back(number);
    } catch (const Error& e) {
      line.error = e.what();
    }
  }
  find_roots(lines, tenants, added);
  for (Annotated& line : lines) {
    Json json;
    json["id"] = line.id;
    if (line.error.empty()) {
      for (auto& [key, value] : line.json.items()) json[key] = std::move(value);
      json["duplicate_root"] = lines[line.root].id;
    } else {
      json["error"] = line.error;
    }
    out(json);
    line.json = nullptr;
  }
}

}  // namespace decant
