#include "data_pipeline/canned_replies.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/random.h"
#include "tests/support/expect_error.h"

namespace decant {
namespace {

Conversation talk(std::string id, std::vector<std::string> answers) {
  Conversation c;
  c.id = std::move(id);
  for (auto& answer : answers) {
    c.messages.push_back({"user", "question of " + c.id});
    c.messages.push_back({"assistant", std::move(answer)});
  }
  return c;
}

std::vector<Conversation> talks(int count) {
  std::vector<Conversation> all;
  for (int i = 0; i < count; ++i)
    all.push_back(
        talk("c" + std::to_string(i), {"Thanks! Your ticket is #" + std::to_string(i),
                                       "Own words " + std::string(static_cast<size_t>(i + 1), 'x')}));
  return all;
}

// (id, turn) of the occurrences that keep their weight.
std::set<std::pair<std::string, uint32_t>> kept(const std::vector<Conversation>& all,
                                                const CannedRepliesConfig& config) {
  CannedReplies replies(config);
  for (const auto& c : all) replies.add(c);
  std::set<std::pair<std::string, uint32_t>> found;
  for (const auto& t : replies.resolve().turns)
    if (!t.over) found.insert({all[t.conversation].id, t.turn});
  return found;
}

TEST(CannedReplies, CountsAcrossConversationsAndCaps) {
  auto all = talks(20);
  all[3].messages.push_back(
      {"assistant", "ＴＨＡＮＫＳ！ your  ticket is #9"});  // full width, once more in one conversation
  all[4].messages[1].tool_calls = Json::array({1});         // a call is no reply
  CannedReplies replies({.least = 5, .most = 7});
  for (const auto& c : all) replies.add(c);
  const auto result = replies.resolve();
  ASSERT_EQ(result.replies.size(), 1U);
  EXPECT_EQ(result.replies[0].count, 20U);
  EXPECT_EQ(result.replies[0].conversations, 19U);
  EXPECT_EQ(result.replies[0].id.size(), 32U);
  ASSERT_EQ(result.turns.size(), 20U);
  EXPECT_EQ(
      std::count_if(result.turns.begin(), result.turns.end(), [](const CannedTurn& t) { return !t.over; }),
      7);
  for (const auto& t : result.turns) {
    EXPECT_EQ(t.count, 20U);
    EXPECT_EQ(t.reply, 0U);
    EXPECT_EQ(all[t.conversation].messages[t.turn].role, "assistant");
  }
}

TEST(CannedReplies, WhatKeepsItsWeightIsStable) {
  const auto all = talks(60);
  const auto few = kept(all, {.least = 2, .most = 10}), more = kept(all, {.least = 2, .most = 25});
  EXPECT_EQ(few.size(), 10U);
  EXPECT_EQ(more.size(), 25U);
  EXPECT_TRUE(std::includes(more.begin(), more.end(), few.begin(), few.end()));  // a larger cap only adds
  std::vector<Conversation> shuffled;
  for (const int64_t i : permutation(60, 3, purpose_stream(Purpose::kTest, 0)))
    shuffled.push_back(all[static_cast<size_t>(i)]);
  EXPECT_EQ(kept(shuffled, {.least = 2, .most = 10}), few);
  // Growth: whoever is kept among more was kept, or is new.
  std::vector<Conversation> half(all.begin(), all.begin() + 30);
  const auto before = kept(half, {.least = 2, .most = 10});
  for (const auto& [id, turn] : few)
    EXPECT_TRUE(std::stoi(id.substr(1)) >= 30 || before.contains({id, turn})) << id;
  EXPECT_NE(kept(all, {.least = 2, .most = 10, .salt = "other"}), few);
  EXPECT_EQ(kept(all, {.least = 2, .most = 0}).size(), 60U);
}

TEST(CannedReplies, RareTurnsAreNotCanned) {
  const auto all = talks(4);
  EXPECT_TRUE(kept(all, {.least = 5}).empty());
  // Ten times in one conversation is one conversation.
  EXPECT_TRUE(kept({talk("a", std::vector<std::string>(10, "again"))}, {.least = 2}).empty());
  CannedReplies none({});
  EXPECT_TRUE(none.resolve().replies.empty());
  EXPECT_ERROR((CannedRepliesConfig{.least = 1}.validate(Place(nullptr, "canned"))), "least");
  EXPECT_ERROR((CannedRepliesConfig{.most = -1}.validate(Place(nullptr, "canned"))), "most");
}

TEST(CannedReplies, ChineseRepliesAreToldApart) {
  std::vector<Conversation> all;
  for (int i = 0; i < 6; ++i)
    all.push_back(
        talk("c" + std::to_string(i), {i % 2 == 0 ? "您好，很高兴为您服务" : "感谢您的来电，再见"}));
  CannedReplies replies({.least = 3, .most = 1});
  for (const auto& c : all) replies.add(c);
  const auto result = replies.resolve();
  EXPECT_EQ(result.replies.size(), 2U);
  EXPECT_LT(result.replies[0].id, result.replies[1].id);  // of one count
}

}  // namespace
}  // namespace decant
