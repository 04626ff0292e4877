// The conversations of ../shared/data, read for tests of attributes and filters.
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "core/json.h"
#include "data_pipeline/conversation.h"
#include "tests/support/shared.h"

namespace decant::test {

inline std::vector<Json> json_lines(const std::filesystem::path& path) {
  std::vector<Json> records;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);)
    if (!line.empty()) records.push_back(Json::parse(line));
  return records;
}

inline Conversation conversation_of(const std::vector<std::pair<std::string, std::string>>& turns) {
  Conversation c;
  c.tenant = "t";
  for (const auto& [role, content] : turns) {
    Message message;
    message.role = role;
    message.content = content;
    c.messages.push_back(std::move(message));
  }
  return c;
}

// By corpus.
inline std::map<std::string, std::vector<Conversation>> real_conversations() {
  std::map<std::string, std::vector<Conversation>> all;
  const auto data = shared_folder() / "data";
  const auto from_messages = [&](const char* name, const std::filesystem::path& path) {
    for (const Json& r : json_lines(path)) {
      if (!r.contains("messages")) continue;
      std::vector<std::pair<std::string, std::string>> turns;
      for (const Json& m : r["messages"]) turns.emplace_back(m["role"], m["content"]);
      all[name].push_back(conversation_of(turns));
    }
  };
  const auto from_pairs = [&](const char* name, const std::filesystem::path& path) {
    for (const Json& r : json_lines(path))
      all[name].push_back(conversation_of({{"user", r["question"]}, {"assistant", r["answer"]}}));
  };
  from_messages("taskmaster4", data / "taskmaster4/tm4_dialogs.jsonl");
  from_messages("crosswoz", data / "crosswoz/crosswoz_val.jsonl");
  from_pairs("irc-ubuntu", data / "irc-ubuntu/irc_ubuntu_qa.jsonl");
  from_pairs("egret-wenda", data / "egret-wenda/egret_qa.jsonl");
  from_pairs("gsm8k", data / "gsm8k/train.jsonl");
  for (const char* language : {"en", "zh"}) {
    const std::string file = std::string("llama-factory/glaive_toolcall_") + language + "_demo.json";
    for (const Json& r : read_json(data / file)) {
      std::vector<std::pair<std::string, std::string>> turns;
      for (const Json& m : r["conversations"]) {
        const auto from = m["from"].get<std::string>();
        turns.emplace_back(from == "human" ? "user" : from == "gpt" ? "assistant" : "tool", m["value"]);
      }
      all["glaive"].push_back(conversation_of(turns));
    }
  }
  for (const Json& r : json_lines(data / "tau-bench/retail_few_shot.jsonl")) {
    // "user: ...\nassistant: ...\ntool: ..."
    std::vector<std::pair<std::string, std::string>> turns;
    std::istringstream in(r["messages_display"].get<std::string>());
    for (std::string line; std::getline(in, line);) {
      bool begins = false;
      for (const char* role : {"user", "assistant", "tool"}) {
        const std::string head = std::string(role) + ": ";
        if (!line.starts_with(head)) continue;
        const std::string said = line.substr(head.size());
        if (said != "None") turns.emplace_back(role, said);
        begins = true;
      }
      if (!begins && !turns.empty()) turns.back().second += "\n" + line;
    }
    all["tau-bench"].push_back(conversation_of(turns));
  }
  for (const char* folder : {"chinese", "traditionalchinese", "english"}) {
    std::vector<std::filesystem::path> files;
    for (const auto& file : std::filesystem::directory_iterator(data / "chatterbot-corpus" / folder))
      files.push_back(file.path());
    std::sort(files.begin(), files.end());
    for (const auto& path : files) {
      std::ifstream in(path);
      std::string question;
      for (std::string line; std::getline(in, line);) {
        if (line.starts_with("- - ")) question = line.substr(4);
        if (line.starts_with("  - ") && !question.empty()) {
          all["chatterbot"].push_back(conversation_of({{"user", question}, {"assistant", line.substr(4)}}));
          question.clear();
        }
      }
    }
  }
  return all;
}

}  // namespace decant::test
