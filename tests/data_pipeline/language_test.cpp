#include "data_pipeline/language.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/random.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

using test::shared_folder;

std::string code(std::string_view text) { return std::string(detect_language(text).code); }
std::string script(std::string_view text) { return std::string(detect_language(text).script); }

TEST(LanguageOfShortTurns, Chinese) {
  for (const char* text : {"好的", "在吗", "加", "風", "陣陣秋風處處地奔走", "API 返回 500 error 怎么办",
                           "iPhone 13 Pro Max 多少钱", "订单号 SO20240312001 已发货", "请问 how to do it",
                           "我的 order 还没到，tracking number 是 1Z999", "cannot login 登录不了", "鲜の每日",
                           "Hello 我想退货", "ship to 北京市朝阳区", "一二三", "退款！！！"})
    EXPECT_EQ(code(text), "zh") << text;
  EXPECT_EQ(script("请问我的快递到哪里了"), "Hans");
  EXPECT_EQ(script("請問我的包裹到哪裡了"), "Hant");
  EXPECT_EQ(script("加"), "");
}

TEST(LanguageOfShortTurns, English) {
  for (const char* text :
       {"thanks", "refund pls", "hi", "ok", "no", "yes please", "Help. My card is broken",
        "How do I say 你好 in Chinese?", "I would like to buy 花西子空气蜜粉", "My name is 张伟",
        "I'd prefer a Mastercard.", "it’s gonna be ready", "can't log in",
        "sudo apt-get update && sudo apt-get upgrade", "Ｗｈｅｒｅ ｉｓ ｍｙ ｏｒｄｅｒ"})
    EXPECT_EQ(code(text), "en") << text;
}

TEST(LanguageOfShortTurns, NothingToTell) {
  for (const char* text : {"", " ", "123456", "A1", "???", "...", "\n\n", "❤️❤️", "1280x1024",
                           "+86 138 0000 0000", "12:30", "¥199.00", "👍", "x"}) {
    EXPECT_EQ(code(text), "und") << text;
    EXPECT_EQ(detect_language(text).score, 0) << text;
  }
}

TEST(LanguageOfShortTurns, OthersInLatinScript) {
  const std::map<std::string, std::vector<const char*>> turns = {
      {"de",
       {"Wo ist meine Bestellung?", "danke", "Ich möchte mein Geld zurück", "Das Gerät funktioniert nicht"}},
      {"fr", {"Où est ma commande ?", "merci", "Je n'ai pas reçu mon colis", "Comment annuler ma commande"}},
      {"es", {"¿Dónde está mi pedido?", "gracias", "No he recibido mi paquete", "Quiero cancelar la compra"}},
      {"it", {"Dov'è il mio ordine?", "grazie", "Non ho ricevuto il pacco", "Vorrei un rimborso"}},
      {"pt", {"Onde está o meu pedido?", "obrigado", "Não recebi a encomenda", "Quero cancelar a compra"}},
      {"nl", {"Waar is mijn bestelling?", "bedankt", "Ik heb mijn pakket niet ontvangen"}},
      {"pl", {"Gdzie jest moje zamówienie?", "dziękuję", "Chcę zwrócić towar"}},
      {"tr", {"Siparişim nerede?", "teşekkürler", "Param ne zaman iade edilecek?"}},
      {"id", {"Di mana pesanan saya?", "terima kasih", "Barang belum sampai"}},
      {"vi", {"Đơn hàng của tôi ở đâu?", "cảm ơn", "Tôi muốn trả hàng"}},
      {"sv", {"Var är min beställning?", "Jag har inte fått mitt paket"}},
      {"fi", {"Missä tilaukseni on?", "kiitos"}},
      {"cs", {"Kde je moje objednávka?", "Děkuji"}},
      {"ro", {"Unde este comanda mea?", "Mulțumesc"}},
      {"hu", {"Hol van a rendelésem?", "köszönöm"}},
  };
  for (const auto& [language, texts] : turns)
    for (const char* text : texts) EXPECT_EQ(code(text), language) << text;
}

TEST(LanguageOfShortTurns, OtherScripts) {
  const std::map<std::string, std::vector<const char*>> turns = {
      {"ja",
       {"注文した商品がまだ届きません", "対応お願いします", "東京駅", "ありがとう", "ｶﾀｶﾅ", "商品の返品"}},
      {"ko", {"주문한 상품이 아직 안 왔어요", "네", "환불 해주세요"}},
      {"ru", {"Где мой заказ?", "спасибо", "Я хочу вернуть товар"}},
      {"uk", {"Де моє замовлення?", "Дякую, все гаразд і добре"}},
      {"be", {"Дзе мой заказ? Я яго не атрымаў"}},
      {"bg", {"Къде е поръчката ми?"}},
      {"sr", {"Где је моја поруџбина?"}},
      {"mk", {"Каде е мојата нарачка? Ќе чекам"}},
      {"kk", {"Менің тапсырысым қайда?"}},
      {"ar", {"أين طلبي؟", "شكرا جزيلا لك يا صديقي"}},
      {"fa", {"سفارش من کجاست؟", "می‌خواهم پولم را پس بگیرم"}},
      {"ur", {"میرا آرڈر کہاں ہے؟"}},
      {"hi", {"मेरा ऑर्डर कहाँ है?"}},
      {"th", {"สินค้าของฉันอยู่ที่ไหน"}},
      {"he", {"איפה ההזמנה שלי?"}},
      {"el", {"Πού είναι η παραγγελία μου;"}},
      {"ka", {"სად არის ჩემი შეკვეთა?"}},
      {"hy", {"Որտե՞ղ է իմ պատվերը"}},
      {"bn", {"আমার অর্ডার কোথায়?"}},
      {"ta", {"என் ஆர்டர் எங்கே?"}},
      {"km", {"ការបញ្ជាទិញរបស់ខ្ញុំនៅឯណា"}},
      {"my", {"ကျွန်တော့်အော်ဒါ ဘယ်မှာလဲ"}},
      {"am", {"ትዕዛዜ የት ነው?"}},
  };
  for (const auto& [language, texts] : turns)
    for (const char* text : texts) EXPECT_EQ(code(text), language) << text;
}

TEST(LanguageOfAConversation, EveryTurnVotesWithItsWords) {
  LanguageEvidence chinese;
  chinese.add("ok");
  chinese.add("您好，请问有什么可以帮您？");
  chinese.add("error 500: connection refused");
  chinese.add("请您稍等，我帮您查询一下订单的物流信息");
  EXPECT_EQ(chinese.language().code, "zh");
  EXPECT_EQ(chinese.language().script, "Hans");

  LanguageEvidence german;
  for (const char* turn : {"Hi", "12345", "Wo ist mein Paket?", "ok", "Einen Moment bitte, ich sehe nach."})
    german.add(turn);
  EXPECT_EQ(german.language().code, "de");

  LanguageEvidence none;
  for (const char* turn : {"", "123", "!!"}) none.add(turn);
  EXPECT_EQ(none.language().code, "und");
}

TEST(LanguageOfAConversation, DoesNotDependOnTheOrderOfTurns) {
  const std::vector<const char*> turns = {"Hola", "¿Dónde está mi pedido?", "I don't know", "12", "谢谢"};
  LanguageEvidence forward, backward;
  for (size_t i = 0; i < turns.size(); ++i) {
    forward.add(turns[i]);
    backward.add(turns[turns.size() - 1 - i]);
  }
  EXPECT_EQ(forward.language().code, backward.language().code);
  EXPECT_NEAR(forward.language().score, backward.language().score, 1e-6);
}

TEST(Language, MoreOfTheSameIsSurer) {
  for (const char* text : {"Wo ist meine Bestellung? ", "我的快递到哪里了？", "where is my order? "}) {
    const std::string once(text), often = once + once + once;
    EXPECT_GT(detect_language(often).score, detect_language(once).score) << text;
  }
}

TEST(Language, AMegabyteIsDecidedByAllOfItsScriptsAndFourPlacesOfItsWords) {
  std::string zh, de;
  while (zh.size() < 1'000'000) zh += "请问这个订单什么时候发货 order ";
  EXPECT_EQ(code(zh), "zh");
  while (de.size() < 1'000'000) de += "Die Lieferung ist leider noch nicht angekommen. ";
  EXPECT_EQ(code("I see. " + de), "de");
  EXPECT_EQ(code(std::string(1'000'000, ' ')), "und");
  EXPECT_EQ(code(std::string(1'000'000, '/')), "und");
  EXPECT_EQ(code(std::string(1'000'000, 'a')), "und");  // no word is that long
}

TEST(Language, AnyBytesAreSafeAndScoresStayBetween0And1) {
  const std::vector<std::string> parts = {"a", "é", "中",       "の", "ก",    "\xF0", "\xE4", "\xC3",
                                          "'", "’", "s",        "ll", " ",    "/x",   "-",    "0",
                                          "б", "ي", "\xEF\xBC", "Ａ", "\x80", ".",    "the",  "ß"};
  int seen = 0;
  for (uint64_t n = 0; n < 20000; ++n) {
    std::string text;
    for (uint64_t k = 0; k < 1 + n % 24; ++k) text += parts[philox(5, n, k)[0] % parts.size()];
    const Language language = detect_language(text);
    ASSERT_GE(language.score, 0);
    ASSERT_LE(language.score, 1);
    ASSERT_EQ(language.score == 0, language.code == "und") << text;
    ++seen;
  }
  EXPECT_EQ(seen, 20000);
}

// All lines of the benchmark's sources (../shared/peers/data.md draws 20,587 of them).
struct Tally {
  int64_t seen = 0, right = 0;
  void count(std::string_view text, std::string_view expected) {
    ++seen;
    right += detect_language(text).code == expected;
  }
  double share() const { return static_cast<double>(right) / static_cast<double>(seen); }
};

std::vector<Json> json_lines(const std::filesystem::path& path) {
  std::vector<Json> records;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);)
    if (!line.empty()) records.push_back(Json::parse(line));
  return records;
}

bool has_han(std::string_view text) {
  for (size_t i = 0; i + 2 < text.size(); ++i) {
    const auto b = static_cast<unsigned char>(text[i]);
    if (b >= 0xE4 && b <= 0xE9) return true;
  }
  return false;
}

TEST(LanguageOfRealLines, EnglishAndChinese) {
  DECANT_NEEDS_SHARED("data/egret-wenda/egret_qa.jsonl");
  const auto data = shared_folder() / "data";
  Tally en, zh;
  for (const Json& r : json_lines(data / "taskmaster4/tm4_dialogs.jsonl"))
    for (const Json& m : r["messages"]) {
      const auto text = m["content"].get<std::string>();
      if (!text.empty()) en.count(text, "en");
    }
  for (const Json& r : json_lines(data / "irc-ubuntu/irc_ubuntu_qa.jsonl")) {
    const auto text = r["answer"].get<std::string>();
    if (!text.empty()) en.count(text, "en");
  }
  {
    std::ifstream in(data / "banking77/train.csv");
    std::string line;
    std::getline(in, line);
    while (std::getline(in, line)) {
      if (const size_t comma = line.rfind(','); comma != std::string::npos) line.resize(comma);
      if (line.size() > 2) en.count(line, "en");
    }
  }
  for (const Json& r : json_lines(data / "crosswoz/crosswoz_val.jsonl"))
    if (r.contains("messages"))
      for (const Json& m : r["messages"])
        if (const auto text = m["content"].get<std::string>(); has_han(text)) zh.count(text, "zh");
  for (const Json& r : json_lines(data / "egret-wenda/egret_qa.jsonl"))
    if (const auto text = r["question"].get<std::string>(); has_han(text)) zh.count(text, "zh");
  for (const char* folder : {"chinese", "traditionalchinese"})
    for (const auto& file : std::filesystem::directory_iterator(data / "chatterbot-corpus" / folder)) {
      std::ifstream in(file.path());
      for (std::string line; std::getline(in, line);)
        if (const size_t at = line.find("- "); at != std::string::npos && has_han(line))
          zh.count(std::string_view(line).substr(at + 2), "zh");
    }
  std::printf("right: English %.5f of %lld, Chinese %.5f of %lld\n", en.share(),
              static_cast<long long>(en.seen), zh.share(), static_cast<long long>(zh.seen));
  EXPECT_GT(en.seen, 31000);
  EXPECT_GT(zh.seen, 12500);
  EXPECT_GE(en.share(), 0.998);
  EXPECT_GE(zh.share(), 0.998);
}

}  // namespace
}  // namespace decant
