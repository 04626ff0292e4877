#include "data_pipeline/pii_context.h"

#include <algorithm>
#include <vector>

namespace decant {

namespace {

struct Group {
  PiiTopic topic;
  std::u16string_view words;  // parted by '|'
};

// Lower case; simplified and traditional.
constexpr Group kGroups[] = {
    {PiiTopic::kConnector,
     u"number|numbers|num|no|nr|nos|is|was|are|id|ids|to|as|the|new|of|it's|its|号码|號碼|号|號|码|碼|是|为|"
     u"為|叫|的|有|"
     u"改为|改成|换成|变更为|更新为|应该是|填的是|写的是|也是|就是|還是|登记为|登記為|如下|分别是|在|a|my|"
     u"our|your|his|her|"
     u"这个|这|那个|预留|绑定|尾号|本人|新|旧|老|您的|我的|他的|她的|你的|one|on|at|under|file|值|标识"},
    {PiiTopic::kPhone,
     u"my number|phone number|new number|the number to "
     u"reach|手机|手機|手机号码|手机号|电话|電話|电话号码|电话号|联系方式|聯絡方式|聯繫方式|联系电话|致电|"
     u"致電|"
     u"拨打|撥打|打给|"
     u"座机|座機|固话|固話|传真|傳真|来电|回电|短信|简讯|号码归属|whatsapp|telegram|signal|tel|telephone|"
     u"phone|phones|call|"
     u"calling|callback|mobile|cell|cellphone|fax|text|sms|dial|ring|landline|phoned|called|contact|mob|ph|"
     u"联系|聯絡|聯繫|"
     u"打电话|打過|reach|致电给|电联|回拨|加我|联络|reached"},
    {PiiTopic::kHotline, u"热线|熱線|客服|hotline|helpline|toll-free|服务电话|投诉"},
    {PiiTopic::kIdCardOld,
     u"身份证|身份證|身分證|身分证|身份证号|身份证号码|公民身份号码|身份号码|居民身份证|身证"},
    {PiiTopic::kIdCard,
     u"证件|證件|证件号|证件号码|实名|id card|identity card|identity|national id|citizen id"},
    {PiiTopic::kCard,
     u"paid with|pay with|paid by|charged "
     u"to|卡号|卡號|银行卡|銀行卡|信用卡|借记卡|储蓄卡|账号|帐号|賬號|帳號|账户|帐户|賬戶|銀聯|银联|工行卡|"
     u"建行卡|农行卡|"
     u"中行卡|招行卡|交行卡|邮储卡|工资卡|付款卡|收款账号|收款账户|还款卡|打款|转账|card|cards|visa|"
     u"mastercard|amex|"
     u"american express|unionpay|credit|debit|卡|开户行|收款|cc|account|acct|payment|行卡|还款|扣款"},
    {PiiTopic::kPassport, u"护照|護照|passport|passports|护照号|护照号码"},
    {PiiTopic::kPermit,
     u"通行证|通行證|回乡证|回鄉證|台胞证|台胞證|港澳通行证|往来港澳|返乡证|港澳证|居住证|permit|travel "
     u"permit"},
    {PiiTopic::kHongKong,
     u"香港身份证|香港身份證|hkid|澳门身份证|澳門身份證|香港永久性居民身份证|香港居民身份证|港澳身份证"},
    {PiiTopic::kTaiwan,
     u"台湾身份证|台灣身分證|台湾身分证|国民身分证|國民身分證|统一编号|統一編號|台湾居民身份证"},
    {PiiTopic::kPlate, u"车牌|車牌|车牌号|车号|牌照|号牌|plate|license plate|licence plate|plates"},
    {PiiTopic::kCreditCode,
     u"信用代码|信用代碼|统一社会信用代码|社会信用代码|税号|稅號|纳税人识别号|纳税识别号|机构代码|组织代码|"
     u"机关代码|代码|"
     u"统一代码|营业执照|营业执照号|执照号|uscc|tax id|credit code|信用码|注册号"},
    {PiiTopic::kQq, u"qq|扣扣|企鹅号|qq号|qq号码|qq號|q q|加q|腾讯qq|q号|qq群|扣扣号|企鹅"},
    {PiiTopic::kWechat, u"微信|wechat|weixin|wx|vx|v信|威信|薇信|微 信|we chat|徽信|加v|加微"},
    {PiiTopic::kWechatId,
     u"微信号|微信號|微信id|wechat id|微信账号|微信帐号|微信号码|wx号|vx号|wechat no|wechat "
     u"number|v信号|微号|weixin id"},
    {PiiTopic::kEmail, u"邮箱|郵箱|邮件|email|e-mail|mail|电邮"},
    {PiiTopic::kIp,
     u"ip|ip地址|ipv4|ipv6|ip address|服务器|伺服器|主机|主機|来源|來源|登录|登入|登錄|访问|訪問|host|server|"
     u"hosts|servers|login|logged|ping|pinged|ssh|gateway|网关|路由器|router|from|dns|addr|inet|inet6|来自|"
     u"源地址|客户端|"
     u"client|网络地址|内网|外网|公网|局域网|subnet|连接到|解析到|connect|connected|connecting"},
    {PiiTopic::kMac,
     u"mac|mac地址|mac address|物理地址|物理位址|hwaddr|ether|bssid|网卡|蓝牙|bluetooth|hardware address"},
    {PiiTopic::kImei, u"imei|imei号|imei码|串号|串號|imei1|imei2|meid"},
    {PiiTopic::kMilitary,
     u"军官证|軍官證|士兵证|士兵證|义务兵证|军人证|军人证件|士官证|文职证|文职干部证|警官证|武警证|军官证号|"
     u"士兵证号|"
     u"义务兵证号|军官证号码|军人保障卡|学员证|军人身份证|部队证件"},
    {PiiTopic::kSocial,
     u"社保|社保号|社保卡|社保卡号|社会保障号|社会保障号码|社会保障卡|社会保障卡号|社会保险号|社保编号|"
     u"社保账号|社保电脑号|社會保障|"
     u"ssn|social security|social security number|医保卡|医保号|医保卡号"},
    {PiiTopic::kBirth,
     u"出生|出生日期|出生年月|出生年月日|出生于|出生時間|出生时间|生日|生于|生於|诞生于|出世|诞辰|阳历生日|"
     u"农历生日|"
     u"birthday|birthdate|birth|dob|born|date of birth|d.o.b|d.o.b.|bday|b-day|birth date"},
    {PiiTopic::kAddress,
     u"地址|位址|address|addresses|live at|lives at|lived at|ship to|ship it to|shipped to|deliver "
     u"to|delivered to|deliver it to|"
     u"send it to|mail it to|moved to|move to|located at|reside at|residing at|resident of|sent to|live "
     u"in|delivery to|shipping to|"
     u"住址|收货地址|收件地址|家庭地址|家庭住址|现住址|现居住地|居住地址|"
     u"联系地址|通讯地址|邮寄地址|寄件地址|"
     u"详细地址|户籍地址|配送地址|送货地址|地址改成|地址改为|地址在|住在|家住|寄到|寄往|送到|送至|寄至|发到|"
     u"发往|邮寄到|"
     u"快递寄到|送货到|配送到|搬到|搬至|家在|位于|上门到|派送到|户籍|籍贯|住所|住处|租住在|居住在|居住于|"
     u"住於|定居|住"},
    {PiiTopic::kName,
     u"姓名|名字|名叫|称呼|联系人|聯絡人|聯繫人|收件人|收货人|收貨人|寄件人|发件人|下单人|付款人|收款人|"
     u"汇款人|开户人|持卡人|"
     u"申请人|投保人|被保险人|受益人|办理人|经办人|负责人|登记人|预订人|预约人|订票人|入住人|乘机人|取件人|"
     u"提货人|签收人|"
     u"报案人|报修人|投诉人|来电人|咨询人|委托人|代理人|法定代表人|监护人|紧急联系人|机主|户主|车主|业主|"
     u"户名|开户名|真实姓名|"
     u"客户姓名|学生姓名|患者姓名|用户姓名|本人姓名|订购人|购买人|接收人|本人|name|full name|first name|last "
     u"name|"
     u"customer name|surname|family name|given name|cardholder|cardholder name|account "
     u"holder|recipient|passenger|"
     u"attn|contact name|patient name|account name|guest name|contact "
     u"person|beneficiary|payee|consignee|passenger name|client name|driver name|student name|employee "
     u"name|recipient name|"
     u"buyer name|sender name|receiver name|applicant name|owner name|traveler name|traveller name|caller "
     u"name|billing name|"
     u"shipping name|legal name"},
    {PiiTopic::kRole,
     u"客户|客戶|顾客|用户|会员|患者|病人|旅客|乘客|住客|租客|房东|买家|卖家|店员|司机|师傅叫|主治医生|医生|"
     u"护士|同事|"
     u"同学|学生|家长|员工|经理叫|老师叫|客服|学员|当事人|嫌疑人|被告|原告|证人|律师|快递员|骑手|丈夫|妻子|"
     u"老公|老婆|"
     u"儿子|女儿|父亲|母亲|朋友|找一下|我是|我名叫|参保人|纳税人|职工|候选人|应聘者|推荐人|担保人|贷款人|"
     u"借款人|车主叫"},
    {PiiTopic::kSelf,
     u"我叫|我名叫|我的名字是|我的名字叫|名字叫|我姓名是|叫做|本人叫|他叫|她叫|我名字叫|我名字是|名字是|"
     u"姓名是|姓名为|"
     u"my name is|my name's|i am called|i'm called|my full name is|his name is|her name is|"
     u"my name was|the name is|their name is"},
    {PiiTopic::kMister, u"mr|mrs|ms|miss|dr|mister|madam|prof"},
    {PiiTopic::kTitle,
     u"先生|女士|小姐|老师|老師|太太|医生|醫生|师傅|師傅|同学|同學|大夫|教授|阿姨|叔叔|经理|主任|律师|护士|"
     u"同志"},
    {PiiTopic::kSecret,
     u"password|passwd|pwd|passwort|passcode|passphrase|pass|secret|secret_key|secretkey|client_secret|"
     u"clientsecret|api_key|"
     u"apikey|api key|api-key|access_key|accesskey|access key|access_token|accesstoken|access "
     u"token|auth_token|authtoken|"
     u"refresh_token|token|密码|密碼|口令|登录密码|登陆密码|支付密码|密钥|密鑰|secret key|bearer|private "
     u"key|pin|pin码|初始密码|"
     u"wifi密码|开机密码|access_key_secret|secret_access_key|aws_secret_access_key|db_password|psw|令牌"},
    {PiiTopic::kOrder,
     u"订单|訂單|订单号|单号|單號|订单编号|运单|运单号|快递单|快递单号|物流单号|流水|流水号|交易号|交易单号|"
     u"编号|編號|"
     u"工单|工单号|发票|发票号|发票号码|批次|批号|序列号|货号|商品编号|商品编码|产品编号|产品编码|商品号|sku|"
     u"条码|条形码|凭证|"
     u"凭证号|参考号|受理号|案件号|取件码|验证码|邮编|学号|工号|合同|合同号|保单|保单号|票号|会员号|会员编号|"
     u"会员卡|会员卡号|"
     u"积分卡|面单|型号|房号|户号|表号|设备号|任务|任务号|申请号|预约号|挂号|挂号单|病历号|存单|礼品卡|"
     u"购物卡|充值卡|"
     u"备案号|许可证|许可证号|版权|专利|专利号|id号|群号|房间|房间号|提货码|提取码|激活码|兑换码|优惠码|航班|"
     u"车次|资产|料号|"
     u"图号|标准号|计量|文号|桌号|包裹|包裹号|sn|sn码|iccid|sim卡|sim卡号|追踪号|跟踪号|编码|编码是|单据|"
     u"退款单|退款单号|退货单|"
     u"order|orders|tracking|track|invoice|ticket|reference|ref|case|transaction|txn|serial|part|model|item|"
     u"items|"
     u"product|products|po|batch|confirmation|booking|reservation|receipt|claim|policy|barcode|upc|isbn|ean|"
     u"asin|"
     u"shipment|parcel|waybill|awb|lot|revision|commit|bug|issue|pr|flight|gift "
     u"card|giftcard|membership|member|"
     u"loyalty|code|voucher|coupon|request|job|build "
     u"id|pid|uid|user_id|gid|hash|md5|sha1|sha256|uuid|checksum|quote|contract|sim"},
    {PiiTopic::kMoney,
     u"金额|金額|总额|价格|價格|售价|单价|原价|余额|总价|合计|共计|总计|费用|运费|付款金额|支付金额|订单金额|"
     u"amount|total|"
     u"price|cost|costs|balance"},
    {PiiTopic::kUnit,
     u"usd|rmb|cny|eur|元|块|块钱|万元|万|美元|欧元|dollars|euros|yuan|件|个|個|台|套|次|股|"
     u"字节|bytes|kb|mb|gb|ms|秒|毫秒|rows|行|条|份|箱|公斤|公里|平方米|分钟|小时|天|人"},
    {PiiTopic::kVersion,
     u"版本|版本号|固件|固件版本|升级|升级到|更新到|驱动|内核|章节|版|补丁|软件版本|version|versions|ver|v|"
     u"release|releases|released|"
     u"firmware|build|kernel|driver|section|upgrade|upgraded|update|updated|package|patch|rev|chapter|rc|"
     u"beta|libc|"
     u"glibc|openssl|java|python|netmask|子网掩码|掩码|mask|assembly|sdk|runtime|revision"},
};

constexpr std::u16string_view kConnectorUnits =
    u" :=#\"'`<>|*/~[({-_.\u201c\u201d\u2018\u2019\u300c\u300d\u300e"
    u"\u300f\u3010\u3011\u300a\u300b";

constexpr size_t kLongestWord = 24, kWindow = 40;

class Lexicon {
 public:
  Lexicon() {
    for (const Group& group : kGroups) {
      std::u16string_view rest = group.words;
      while (!rest.empty()) {
        const size_t bar = std::min(rest.find(u'|'), rest.size());
        words_.push_back({rest.substr(0, bar), group.topic});
        rest.remove_prefix(std::min(bar + 1, rest.size()));
      }
    }
    const auto longer = [](const Word& a, const Word& b) {
      return a.text.size() != b.text.size() ? a.text.size() > b.text.size() : a.text < b.text;
    };
    std::stable_sort(words_.begin(), words_.end(), longer);
    may_begin_.resize(0x10000);
    may_end_.resize(0x10000);
    for (const Word& word : words_) {
      const auto w = word.text;
      may_begin_[w.front()] = may_end_[w.back()] = 1;
      at_[w.size() > 1 ? slot(w[0], w[1]) : slot(w[0], 0)].push_back(&word);
      before_[w.size() > 1 ? slot(w.back(), w[w.size() - 2]) : slot(w.back(), 0)].push_back(&word);
    }
  }

  PiiWord at(const PiiText& text, size_t i) const {
    if (may_begin_[text[i]] == 0 || (text.letter(i) && text.letter(i - 1))) return {};
    for (const size_t bucket : {slot(text[i], text[i + 1]), slot(text[i], 0)})
      for (const Word* word : at_[bucket])
        if (text.starts(i, word->text) && whole(text, i, i + word->text.size()))
          return {word->topic, i, i + word->text.size()};
    return {};
  }

  PiiWord before(const PiiText& text, size_t i) const {
    if (may_end_[text[i - 1]] == 0 || (text.letter(i) && text.letter(i - 1))) return {};
    for (const size_t bucket : {slot(text[i - 1], text[i - 2]), slot(text[i - 1], 0)})
      for (const Word* word : before_[bucket])
        if (text.ends(i, word->text) && whole(text, i - word->text.size(), i))
          return {word->topic, i - word->text.size(), i};
    return {};
  }

  bool may_begin(char16_t unit) const { return may_begin_[unit] != 0; }

 private:
  struct Word {
    std::u16string_view text;
    PiiTopic topic;
  };

  static bool whole(const PiiText& text, size_t begin, size_t end) {
    return !(text.letter(begin) && text.letter(begin - 1)) && !(text.letter(end - 1) && text.letter(end));
  }

  // Words by their two outer units, longest first; one-unit words by themselves.
  static constexpr size_t kSlots = 8192;
  static size_t slot(char16_t outer, char16_t inner) { return (outer * 31u + inner * 1031u) % kSlots; }

  std::vector<Word> words_;
  std::vector<uint8_t> may_begin_, may_end_;
  std::array<std::vector<const Word*>, kSlots> at_, before_;
};

const Lexicon& lexicon() {
  static const Lexicon it;
  return it;
}

bool connector_unit(char16_t unit) { return kConnectorUnits.find(unit) != std::u16string_view::npos; }

bool ends_sentence(const PiiText& text, size_t i) {
  const char16_t c = text[i];
  return c == u'\n' || c == u'\r' || c == u'。' || c == u'!' || c == u'?' || c == u';' ||
         (c == u'.' && text.space(i + 1) && text.letter(i - 1) && text.letter(i - 2) && text.letter(i - 3));
}

}  // namespace

PiiWord pii_word_at(const PiiText& text, size_t i) { return lexicon().at(text, i); }

PiiWord pii_word_before(const PiiText& text, size_t i) {
  return i == 0 ? PiiWord{} : lexicon().before(text, i);
}

bool pii_word_may_begin(char16_t unit) { return lexicon().may_begin(unit); }

size_t pii_after_label(const PiiText& text, size_t i) {
  for (int steps = 0; steps < 8 && i < text.size(); ++steps) {
    if (connector_unit(text[i])) {
      ++i;
      continue;
    }
    const PiiWord word = pii_word_at(text, i);
    if (word.topic != PiiTopic::kConnector) break;
    i = word.end;
  }
  return i;
}

PiiContext pii_context(const PiiText& text, size_t begin, size_t end) {
  PiiContext context;
  context.distance.fill(PiiContext::kFar);
  const Lexicon& words = lexicon();
  bool direct = true;
  size_t i = begin;
  while (i > 0 && begin - i < kWindow) {
    if (i < begin && ends_sentence(text, i - 1)) break;
    const PiiWord word = words.before(text, i);
    if (word.topic != PiiTopic::kNone) {
      // "phone number": a connector that is a topic's word, too, counts only when nothing else does
      if (word.topic != PiiTopic::kConnector) {
        if (direct) context.label = word.topic;
        if (direct) context.ascii_label = text.letter(word.end - 1);
        direct = false;
        uint8_t& distance = context.distance[static_cast<size_t>(word.topic)];
        distance = std::min(distance, static_cast<uint8_t>(begin - word.end));
      }
      i = word.begin;
      continue;
    }
    if (!connector_unit(text[i - 1])) direct = false;
    if (text[i - 1] == u'\n') break;
    --i;
  }
  size_t k = end;
  while (k < end + 3 && (text.space(k) || text[k] == u'(' || text[k] == u')' || text[k] == u',')) ++k;
  for (int steps = 0; steps < 3; ++steps) {
    const PiiWord word = words.at(text, k);
    if (word.topic == PiiTopic::kNone) break;
    if (word.topic != PiiTopic::kConnector) {
      context.after = word.topic;
      break;
    }
    k = word.end;
    while (text.space(k)) ++k;
  }
  size_t first = 0, last = text.size();
  const auto idle = [&](size_t at) {
    const char16_t c = text[at];
    return c == u' ' || c == u'\n' || c == u'\r' || c == u'.' || c == u'。' || c == u'(' || c == u')';
  };
  while (first < begin && begin - first < 8 && idle(first)) ++first;
  while (last > end && last - end < 8 && idle(last - 1)) --last;
  context.whole = first == begin && last == end;
  return context;
}

}  // namespace decant
