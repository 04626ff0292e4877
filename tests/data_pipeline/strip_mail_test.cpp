#include "data_pipeline/strip_mail.h"

#include <gtest/gtest.h>

#include <string>

namespace decant {
namespace {

std::string without_history(std::string_view text) {
  MappedText out;
  return strip_quoted_mail(text, out) ? out.text : std::string(text);
}
std::string without_signature(std::string_view text) {
  MappedText out;
  return strip_signatures(text, out) ? out.text : std::string(text);
}

TEST(StripMail, QuotedHistory) {
  EXPECT_EQ(
      without_history(
          "Thanks, it works.\n\nOn Mon, 4 Mar 2024 at 10:12, Ann <a@x.org> wrote:\n> Try this\n> and that\n"),
      "Thanks, it works.\n\n");
  EXPECT_EQ(without_history("Hi\nOn Mon, 4 Mar 2024 at 10:12, A Very Long "
                            "Name\n<a.very.long@address.example.org> wrote:\n\n> q\n\nanswer"),
            "Hi\n\n\nanswer");  // an answer between quotes stays
  EXPECT_EQ(without_history("Yes\nOn 4 Mar 2024, Ann wrote:\nTry this, it is not quoted\n"), "Yes\n");
  EXPECT_EQ(without_history("好的，谢谢\n\n张三 <z@x.cn> 于2024年3月4日周一 10:12写道：\n> 您好\n> 请重启\n"),
            "好的，谢谢\n\n");
  EXPECT_EQ(without_history("还是不行\n在 2024-03-04 10:12:33，\"客服\" <kf@x.cn> 写道：\n您好，请重启\n"),
            "还是不行\n");
  EXPECT_EQ(without_history("收到\n\n------------------ 原始邮件 ------------------\n发件人: \"客服\"\n您好"),
            "收到\n");
  EXPECT_EQ(without_history(
                "收到\n\n发件人：客服 <kf@x.cn>\n发送时间：2024年3月4日\n收件人：张三\n主题：退款\n\n您好"),
            "收到\n");
  EXPECT_EQ(without_history(
                "ok\n________________________________\nFrom: Ann\nSent: Monday\nTo: Bob\nSubject: x\n\ntext"),
            "ok\n");
  EXPECT_EQ(without_history("see below\n\n-----Original Message-----\nFrom: Ann\n"), "see below\n");
  EXPECT_EQ(without_history("Am 04.03.2024 um 10:12 schrieb Ann:\n> x\nDanke"), "Danke");
}

TEST(StripMail, TextThatOnlyLooksQuotedStays) {
  for (const char* text : {"it must be\n>50% off", "On Monday I wrote: hello", "发件人：我的朋友\n怎么填？",
                           "From: Berlin\nI want a train", "He wrote:\nhello", "a\n>:( no", "--original--\nx",
                           "> only a quote", "On 4 Mar 2024, Ann wrote:\n> x"})
    EXPECT_EQ(without_history(text), text);
}

TEST(StripMail, Signatures) {
  EXPECT_EQ(without_signature("The app crashes.\n\nSent from my iPhone"), "The app crashes.\n\n");
  EXPECT_EQ(without_signature("无法登录\n发自我的iPhone\n"), "无法登录\n");
  EXPECT_EQ(without_signature("无法登录\n从我的 HUAWEI 手机发送"), "无法登录\n");
  EXPECT_EQ(without_signature("x\nGet Outlook for iOS"), "x\n");
  EXPECT_EQ(without_signature("Please help\n-- \nAnn Smith\nACME Ltd\n+1 555"), "Please help\n");
  EXPECT_EQ(without_signature(
                "Please help\n\nThis email and any attachments are confidential and intended solely for\n"
                "the use of the addressee. If you have received this email in error, tell us.\n\nthanks"),
            "Please help\n\n\nthanks");
  EXPECT_EQ(without_signature(
                "请处理\n\n本邮件及其附件含有保密信息，仅限于发送给上面地址中列出的收件人，请勿转发或复制。"),
            "请处理\n\n");
}

TEST(StripMail, TextThatOnlyLooksLikeASignatureStays) {
  for (const char* text :
       {"Sent from my iPhone", "It was sent from my iPhone", "Sent from my phone, it did not arrive",
        "发自内心的感谢", "从我的账户扣款了", "a\n--\nb1\nb2\nb3\nb4\nb5\nb6\nb7\nb8\nb9",
        "This message is confidential",
        "This email is about my order: I have waited for three weeks and nothing has come so far."})
    EXPECT_EQ(without_signature(text), text);
}

TEST(StripMail, Boilerplate) {
  const std::vector<std::string> keys = {boilerplate_key("请对本次服务作出评价！"),
                                         boilerplate_key("Rate  US")};
  MappedText out;
  ASSERT_TRUE(strip_boilerplate("好的\n 请对本次服务作出评价! \nrate us\nplease rate us", keys, out));
  EXPECT_EQ(out.text, "好的\nplease rate us");
  EXPECT_EQ(out.map.source_range(0, out.text.size()).first, 0u);
  MappedText none;
  EXPECT_FALSE(strip_boilerplate("rate us", keys, none));
}

}  // namespace
}  // namespace decant
