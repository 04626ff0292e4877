// What find_pii finds and leaves, on labelled cases: another project's (data/pii-zh) and our maker's
// (tests/golden/pii_cases.jsonl, made by make_pii_cases.py beside it).
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <set>

#include "core/json.h"
#include "data_pipeline/pii.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

struct Tally {
  int right = 0, missed = 0, wrong = 0, left = 0;

  double recall() const { return right == 0 ? 0 : static_cast<double>(right) / (right + missed); }
  double precision() const { return right == 0 ? 0 : static_cast<double>(right) / (right + wrong); }
};

void print(const std::string& name, const Tally& t) {
  std::printf("%-16s recall %.3f (%d of %d)  precision %.3f (%d wrong, %d left alone)\n", name.c_str(),
              t.recall(), t.right, t.right + t.missed, t.precision(), t.wrong, t.left);
}

// Kinds that count as another project's type. (An 18-digit social-security number is the identity number.)
const std::map<std::string, std::set<std::string>>& kinds_of_types() {
  static const std::map<std::string, std::set<std::string>> it = {{"email", {"email"}},
                                                                  {"credit_card", {"bank_card"}},
                                                                  {"phone", {"mobile", "landline", "phone"}},
                                                                  {"iban", {"iban"}},
                                                                  {"imei", {"imei"}},
                                                                  {"ip_address", {"ip"}},
                                                                  {"mac_address", {"mac"}},
                                                                  {"url_token", {"secret"}},
                                                                  {"openai_api_key", {"secret"}},
                                                                  {"anthropic_api_key", {"secret"}},
                                                                  {"aws_access_key", {"secret"}},
                                                                  {"github_token", {"secret"}},
                                                                  {"jwt", {"secret"}},
                                                                  {"ssh_private_key", {"secret"}},
                                                                  {"address", {"address"}},
                                                                  {"bank_card", {"bank_card"}},
                                                                  {"credit_code", {"credit_code"}},
                                                                  {"date_of_birth", {"birth_date"}},
                                                                  {"id_number", {"id_card"}},
                                                                  {"license_plate", {"plate"}},
                                                                  {"military_id", {"military_id"}},
                                                                  {"passport", {"passport"}},
                                                                  {"person", {"name"}},
                                                                  {"qq", {"qq"}},
                                                                  {"wechat", {"wechat"}},
                                                                  {"social_security", {"social_security"}}};
  return it;
}

TEST(PiiCases, OtherProjectsCases) {
  DECANT_NEEDS_SHARED("data/pii-zh/zh_phone.json");
  std::map<std::string, Tally> tallies;
  Tally all, twelve;
  int files = 0, exact = 0, spans = 0;
  // The twelve kinds on which other tools were measured.
  const std::set<std::string> measured = {
      "email",       "en_credit_card", "en_phone",     "iban",         "shared_ip",   "shared_mac",
      "shared_imei", "zh_phone",       "zh_id_number", "zh_bank_card", "zh_passport", "zh_license_plate"};
  for (const auto& entry : std::filesystem::directory_iterator(test::shared_folder() / "data/pii-zh")) {
    if (entry.path().extension() != ".json") continue;
    const std::string file = entry.path().stem().string();
    const Json cases = read_json(entry.path());
    const auto type = cases[0].value("type", std::string());
    if (!kinds_of_types().contains(type)) continue;  // free text: religion, health, employer, ...
    ++files;
    for (const Json& c : cases) {
      const auto input = c["input"].get<std::string>();
      const auto& kinds = kinds_of_types().at(c["type"].get<std::string>());
      bool found = false, same = false, any = false;
      for (const auto& span : find_pii(input)) {
        any = true;
        if (!kinds.contains(std::string(pii_kind_name(span.kind)))) continue;
        found = true;
        same = same || (c.contains("expected_text") && input.substr(span.begin, span.end - span.begin) ==
                                                           c["expected_text"].get<std::string>());
      }
      const bool expected = c["should_match"].get<bool>();
      EXPECT_EQ(found, expected) << file << ": " << input;
      const auto count = [&](Tally& t, bool hit) {
        ++(expected ? hit ? t.right : t.missed : hit ? t.wrong : t.left);
      };
      count(tallies[file], found);
      count(all, found);
      if (measured.contains(file)) count(twelve, any);
      if (found && c.contains("expected_text") && type != "url_token") {  // ours is the token, not the URL
        ++spans;
        exact += same ? 1 : 0;
        EXPECT_TRUE(same) << file << ": " << input;
      }
    }
  }
  for (const auto& [file, tally] : tallies) print(file, tally);
  print("all", all);
  print("twelve kinds", twelve);
  EXPECT_EQ(files, 21);
  EXPECT_EQ(twelve.right + twelve.missed, 83);
  EXPECT_EQ(twelve.wrong + twelve.left, 39);
  EXPECT_GT(spans, 100);
  EXPECT_EQ(exact, spans);
  for (const Tally& t : {all, twelve}) {
    EXPECT_GE(t.recall(), 0.98);
    EXPECT_GE(t.precision(), 0.97);
  }
}

}  // namespace
}  // namespace decant
