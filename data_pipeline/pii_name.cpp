// Names of people, by the words around them: Chinese surnames behind 姓名, 我叫, 客户, before 先生, beside a
// telephone number; English names behind "my name is", "Mr", "name:". 某 and "Qux" begin surrogates.
#include <algorithm>
#include <bitset>

#include "data_pipeline/pii_finders.h"

namespace decant {

namespace {

class Characters {
 public:
  explicit Characters(std::u16string_view units) {
    for (const char16_t unit : units) set_.set(unit);
  }
  bool has(char16_t unit) const { return set_.test(unit); }

 private:
  std::bitset<0x10000> set_;
};

const Characters& surnames() {
  static const Characters it(
      u"王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈"
      u"姚卢姜崔钟谭陆汪"
      u"范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤常温康施文牛樊葛"
      u"邢安齐易乔伍庞颜倪"
      u"庄聂章鲁岳翟殷詹申欧耿关兰焦俞左柳甘祝包宁尚符舒阮柯纪梅童凌毕单季裴霍涂成苗谷盛曲翁冉骆蓝路游辛靳管"
      u"柴蒙鲍华喻祁蒲房"
      u"滕屈饶解牟艾尤阳穆农司卓古吉缪简车项连芦麦褚娄窦戚岑景党宫费卜冷晏席卫米柏宗瞿桂佟臧闵苟邬边卞姬师仇"
      u"栾隋刁沙荣巫寇桑"
      u"郎甄丛仲虞敖巩佘池查麻迟邝官封谈匡鞠惠荆冀郁胥班储栗燕楚鄢劳谌奚皮粟冼蔺楼闻厉伊仝郜阚屠朴盖练廉禹井"
      u"祖漆狄"
      u"萧傅阎赖洪卿晁芮阙扈邸雍辜乌裘亓邰杭茹嵇湛戎茅尉檀昝逯冼阮"
      u"張劉陳楊黃趙吳孫馬鄭謝許韓馮鄧葉蘇盧蔣賴鍾譚陸賈韋鄒閻顧龔萬錢嚴湯齊喬龐顏莊聶魯歐關蘭趙畢賀賴呂羅");
  return it;
}

// Surnames that are common words, too: only where a name is announced.
const Characters& rare_surnames() {
  static const Characters it(
      u"时全应和商明苑乐南原盘满海花权强帅豆巴丰支国平计索宣晋相初云容敬来都普浦戈伏鹿薄羊母修宿鲜印隆诸战慕"
      u"危玉银公哈宾勾居"
      u"冶斯元束衣信展阴智幸植衡富尧");
  return it;
}

// Characters of given names.
const Characters& given() {
  static const Characters it(
      u"伟芳娜秀英敏静丽强磊军洋勇艳杰娟涛明超兰霞平刚桂玲红梅建国华文辉力志永健世广义兴良海山仁波宁贵福生龙"
      u"元全胜学祥才武新利清"
      u"飞彬富顺信子昌成康星光天安岩中茂林坚彪博诚敬震振壮思群豪邦承乐绍功松善厚庆民友裕河哲江浩亮政谦亨奇翰"
      u"朗伯宏若鸣朋斌梁栋"
      u"维启克伦翔旭鹏泽晨辰士家树炎德泰盛雄琛钧冠策腾楠榕风航弘慧巧美淑惠珠翠雅芝玉萍莉珍贞莹雪琳嘉琼勤琴薇"
      u"菁梦岚苑婕馨瑗琰韵"
      u"融艺咏卿聪澜纯毓悦昭冰爽琬茗羽希欣育滢馥筠柔竹凝晓欢霄枫芸菲寒伊亚宜姬舒影荔枝丹蓉眉君琦云莲真环凤洁"
      u"素春菊梓涵轩宇然睿"
      u"佳怡萱依诺诗雨妍彤瑶璐婷倩颖茜蕾晴岳俊凯毅恒昊晖煜东南北阳景逸远峰柏森桐卓帆宝根金银财旺喜寿荣耀祖继"
      u"延培正三四五六七八"
      u"九丁小大一媛娇婉娴妮姗姝娥婵倪珊珂珺琪瑾璇瑜瑞璟瑛玥珏琨晗曦昱晟晋昂昕暄朔望津浦淼溪源沛洲润滨澄瀚濤"
      u"鑫钰铭锋锐锦钢铁"
      u"镇栩桦楷柯梁彦弢骏骁驰龄龙麟虎豹鸿鹤鹰雁莎莲芬芹苹蓓蓝薛兆全乾坤丰攀兵帅想晶杨柳燕畅花放波涌淑艳怀忠"
      u"孝廉信义礼智勤俭"
      u"恩惠念慈宗尧舜禹"
      u"秋冬夏月星辰朝晖霖霆露雯霏雷奕弈衡均秉权业守一之道治修品敦朴超越进达伟雄斐斯甜甫尚景路语琴书画诗歌曲"
      u"岑楚越秦晋齐鲁湘沁"
      u"娅婧嫣姣姿姬妤妙好如娟静虹蕊蕙芷苒若菡萌葵翊翎羿翼胤育辅辙迅迪逊遥邵郁里野铮铠闯阔陆陶隽雅雨青靖非飒"
      u"香骥高魁黎默齐"
      u"偉麗強軍豔傑濤蘭剛紅國華輝義興貴龍勝學飛順達進堅誠會樂紹慶鳴維啟倫鵬澤樹");
  return it;
}

// What may follow a name in a sentence.
const Characters& followers() {
  static const Characters it(
      u"的在是说已因要来去想请您你我他她和与跟及或等也都就还将被把给对向从为有没不很办申需反提预订购买下付收"
      u"退换投咨询打致电发开完"
      u"到过了于处共先女手身微住年今昨现刚称表曾正总出入接签取寄联号今办用使拿带让帮叫问告又再才能可会应该报"
      u"上做登录同所其");
  return it;
}

constexpr std::u16string_view kCompound[] = {u"欧阳", u"歐陽", u"司马", u"司馬", u"上官", u"诸葛", u"諸葛",
                                             u"司徒", u"东方", u"慕容", u"皇甫", u"尉迟", u"公孙", u"令狐",
                                             u"夏侯", u"宇文", u"长孙", u"轩辕", u"端木", u"南宫"};

// Words that begin with a surname's character.
constexpr std::u16string_view kWords[] = {
    u"方面", u"方便", u"方式", u"方法", u"方案", u"方向",   u"方可", u"高度", u"高级", u"高兴", u"高峰",
    u"高中", u"高端", u"高清", u"高达", u"任何", u"任务",   u"任意", u"任选", u"任一", u"费用", u"常见",
    u"常用", u"常常", u"黄金", u"黄色", u"黄河", u"黄山",   u"白色", u"白天", u"白金", u"马上", u"马路",
    u"钱包", u"钱款", u"金额", u"金卡", u"金融", u"金牌",   u"万一", u"万元", u"万事", u"安全", u"安装",
    u"安排", u"安心", u"关于", u"关注", u"关系", u"关闭",   u"关键", u"江苏", u"江西", u"江南", u"温度",
    u"温州", u"温馨", u"周末", u"周一", u"周二", u"周三",   u"周四", u"周五", u"周六", u"周日", u"周期",
    u"周边", u"周围", u"周岁", u"严重", u"严格", u"成功",   u"成为", u"成本", u"成都", u"程序", u"程度",
    u"包括", u"包裹", u"包邮", u"包装", u"包含", u"包年",   u"包月", u"毛病", u"毛巾", u"石头", u"申请",
    u"申诉", u"单位", u"单独", u"单号", u"单元", u"单价",   u"单次", u"单人", u"房间", u"房东", u"房屋",
    u"房产", u"于是", u"余额", u"余款", u"计划", u"查询",   u"查看", u"查收", u"查一", u"向上", u"华为",
    u"华丽", u"唐朝", u"段代", u"何时", u"何种", u"何处",   u"时间", u"解决", u"解释", u"解除", u"解绑",
    u"管理", u"连接", u"连续", u"连锁", u"车辆", u"车主",   u"车牌", u"车型", u"路线", u"路上", u"路由",
    u"游戏", u"游客", u"游玩", u"简单", u"简介", u"党员",   u"官方", u"官网", u"封面", u"谈话", u"练习",
    u"楼上", u"楼下", u"楼层", u"司机", u"师傅", u"项目",   u"文件", u"文字", u"文化", u"文明", u"武汉",
    u"宁波", u"宁愿", u"宁夏", u"云南", u"苏州", u"苏宁",   u"吉林", u"吉利", u"杭州", u"广州", u"郑州",
    u"徐州", u"常州", u"海南", u"贵州", u"贵公", u"甘肃",   u"古代", u"农业", u"农民", u"农村", u"纪念",
    u"纪录", u"易用", u"齐全", u"曲线", u"曾经", u"谢谢",   u"胡说", u"胡同", u"牛奶", u"牛肉", u"鲁菜",
    u"汤面", u"米饭", u"麦当", u"盖章", u"和平", u"成交",   u"成员", u"成年", u"雷达", u"夏天", u"夏季",
    u"龙虾", u"叶子", u"林业", u"祝您", u"祝你", u"许多",   u"许可", u"莫名", u"陆续", u"左右", u"左边",
    u"左侧", u"尚未", u"符合", u"梅花", u"童装", u"季度",   u"盛大", u"景点", u"景区", u"席位", u"卫生",
    u"师生", u"荣誉", u"池塘", u"麻烦", u"边上", u"班级",   u"班主", u"储存", u"储蓄", u"原因", u"劳动",
    u"皮肤", u"皮革", u"祖国", u"全部", u"应该", u"支付",   u"支持", u"都是", u"明天", u"明白", u"公司",
    u"相关", u"别人", u"通过", u"平台", u"东方", u"上官网", u"柴油", u"田园", u"丁香", u"宋体", u"宋代",
    u"唐代", u"马桶", u"白酒", u"江湖", u"石油", u"金属",   u"康复", u"武器", u"文章", u"文档", u"文本",
    u"安静", u"安利", u"安卓", u"常温", u"黄瓜", u"孔雀",   u"向导", u"颜色", u"庄园", u"章节", u"关机",
    u"关门", u"关掉", u"包间", u"包子", u"包车", u"宁静",   u"舒适", u"舒服", u"蓝色", u"蓝牙", u"蓝天",
    u"路口", u"路程", u"管道", u"管家", u"解锁", u"解答",   u"解压", u"车票", u"车站", u"车子", u"车间",
    u"连同", u"项链", u"米粉", u"封闭", u"官司", u"查找",   u"查到", u"单子", u"单机", u"单品", u"单身",
    u"单车", u"程式", u"高铁", u"高速", u"高价", u"高温",   u"高新", u"方形", u"方圆", u"万能", u"万达",
    u"钱财", u"金币", u"金华", u"史上", u"石家", u"熊猫",   u"陶瓷", u"白云", u"贺卡", u"顾客", u"雪花",
    u"阳光", u"阳台", u"阳历", u"尤其", u"席梦", u"卓越",   u"艾滋", u"冷静", u"冷藏", u"冷气", u"全国",
    u"安宁", u"谷歌", u"华北", u"华东", u"华南", u"华中",   u"明星", u"游泳", u"程控", u"于此", u"左手",
    u"武林", u"温泉", u"马力", u"马达", u"曲奇", u"牛仔",   u"田地"};

bool is_word(const PiiText& text, size_t i) {
  return std::any_of(std::begin(kWords), std::end(kWords),
                     [&](std::u16string_view w) { return text.starts(i, w); });
}

size_t compound(const PiiText& text, size_t i) {
  for (const auto name : kCompound)
    if (text.starts(i, name)) return 2;
  return 0;
}

bool name_ends(const PiiText& text, size_t i) {
  if (!text.han(i) || followers().has(text[i])) return true;
  return pii_word_at(text, i).topic != PiiTopic::kNone;
}

// The end of a Chinese name that begins at `i`, 0 when none does. `sure`: the words before say it is one.
size_t chinese_name(const PiiText& text, size_t i, bool sure) {
  size_t family = compound(text, i);
  if (family == 0) {
    const bool rare = sure && rare_surnames().has(text[i]) && text.han(i + 1) && given().has(text[i + 1]);
    if ((!surnames().has(text[i]) && !rare) || is_word(text, i)) return 0;
    family = 1;
  }
  const size_t g = i + family;
  if (text[g] == u'\u00b7' || !text.han(g)) return 0;
  const bool first = given().has(text[g]), second = text.han(g + 1) && given().has(text[g + 1]);
  if (!first && !(sure && !followers().has(text[g]))) return 0;
  // the title after a surname is no given name: 王先生
  const PiiTopic behind = pii_word_at(text, g).topic;
  if (behind == PiiTopic::kTitle || (behind != PiiTopic::kNone && !first)) return 0;
  if (!text.han(g + 1)) return g + 1;
  if (pii_word_at(text, g + 1).topic > PiiTopic::kConnector) return g + 1;  // 林涛身份证, 刘伟先生
  if (second && name_ends(text, g + 2))
    return followers().has(text[g + 1]) && !given().has(text[g + 1]) ? g + 1 : g + 2;
  if (followers().has(text[g + 1]) || name_ends(text, g + 1)) return g + 1;
  if (sure && !text.han(g + 2)) return g + 2;
  if (sure && second) return g + 2;
  return 0;
}

// ·-parted names: 阿卜杜拉·买买提
size_t dotted_name(const PiiText& text, size_t i) {
  size_t k = i, dots = 0;
  while (k < i + 16 && (text.han(k) || (text[k] == u'\u00b7' && text.han(k + 1) && k > i + 1)))
    dots += text[k++] == u'\u00b7';
  return dots >= 1 && dots <= 2 && k < i + 16 && !text.han(k) ? k : 0;
}

constexpr std::u16string_view kNoName[] = {
    u"and",     u"from",      u"i",        u"i'm",     u"my",        u"but",     u"with",    u"the",
    u"a",       u"an",        u"on",       u"in",      u"at",        u"for",     u"of",      u"to",
    u"is",      u"are",       u"was",      u"not",     u"calling",   u"here",    u"it",      u"so",
    u"please",  u"can",       u"could",    u"we",      u"you",       u"your",    u"this",    u"that",
    u"there",   u"what",      u"no",       u"yes",     u"ok",        u"order",   u"phone",   u"email",
    u"number",  u"address",   u"or",       u"by",      u"as",        u"wrong",   u"spelled", u"misspelled",
    u"correct", u"incorrect", u"required", u"unknown", u"none",      u"null",    u"string",  u"now",
    u"thanks",  u"thank",     u"hi",       u"hello",   u"looking",   u"who",     u"about",   u"very",
    u"just",    u"still",     u"also",     u"in",      u"have",      u"has",     u"had",     u"do",
    u"did",     u"will",      u"would",    u"zip",     u"customer",  u"account", u"dob",     u"date",
    u"tel",     u"passport",  u"card",     u"id",      u"qq",        u"wechat",  u"live",    u"lives",
    u"want",    u"need",      u"then",     u"back",    u"president", u"office",  u"chairman"};

bool no_name(std::u16string_view word) {
  return std::any_of(std::begin(kNoName), std::end(kNoName),
                     [&](std::u16string_view w) { return w == word; });
}

// One to three words of letters from `i`; capitals unless `lower` lets small letters through.
size_t english_name(const PiiText& text, size_t i, bool lower) {
  size_t k = i, end = 0;
  const bool capital = text.upper(i);
  if (!capital && !lower) return 0;
  for (int words = 0; words < (capital ? 3 : 2); ++words) {
    size_t e = k;
    while ((text.letter(e) || (text[e] >= 0xc0 && text[e] <= 0x17f) ||
            ((text[e] == u'\'' || text[e] == u'-' || text[e] == u'\u2019') && text.letter(e + 1))) &&
           e < k + 24)
      ++e;
    const bool initial = e == k + 1 && text[e] == u'.' && words > 0;
    if (e == k || (e < k + 2 && !initial) || text.digit(e) || text[e] == u'_' || text[e] == u'@') break;
    if (text[e] == u':' && words > 0) break;
    if (capital != text.upper(k) || no_name(text.units(k, e)) || text.starts(k, u"qux")) break;
    size_t word_end = e;
    if (text.units(k, e).ends_with(u"'s")) word_end -= 2;
    end = word_end;
    if (word_end != e) break;
    if (initial) ++e;
    if (!text.space(e)) break;
    k = e + 1;
  }
  return end;
}

std::string spaced(const PiiText& text, size_t begin, size_t end) { return text.ascii(begin, end); }

}  // namespace

void find_name_after(const PiiText& text, const PiiWord& label, PiiFindings& out) {
  const bool english_label = text.letter(label.end - 1);
  size_t k = label.end;
  bool colon = false;
  while (k < label.end + 5 &&
         (text.space(k) || text[k] == u':' || text[k] == u'=' || text[k] == u'"' || text[k] == u'(' ||
          text[k] == u'\u300c' || text[k] == u'\u201c' || (english_label && text[k] == u'.'))) {
    colon = colon || text[k] == u':' || text[k] == u'=';
    ++k;
  }
  if (!english_label && (text[k] == u'是' || text[k] == u'为' || text[k] == u'為' || text[k] == u'叫') &&
      label.topic != PiiTopic::kRole) {
    colon = true;
    ++k;
  }
  const bool spaces = k > label.end;
  if (text.han(k)) {
    if (text[k] == u'某') return;
    const bool sure = colon || label.topic == PiiTopic::kSelf || (label.topic == PiiTopic::kName && spaces);
    size_t end = sure ? dotted_name(text, k) : 0;
    if (end == 0) end = chinese_name(text, k, sure);
    if (end == 0) return;
    // 客户王先生 is 王's: found before the title
    out.add(PiiKind::kName, k, end, sure ? 0.8f : 0.65f, spaced(text, k, end));
    return;
  }
  if (!spaces || !text.letter(k)) return;
  size_t end = 0;
  if (label.topic == PiiTopic::kMister) {
    const bool shouted = text.upper(label.begin + 1) && text.starts(label.begin, u"ms");  // MS Excel
    if (text.upper(label.begin) && text[label.end] != u':' && !shouted) end = english_name(text, k, false);
  } else if (label.topic == PiiTopic::kSelf) {
    end = english_name(text, k, true);
  } else if (label.topic == PiiTopic::kName && colon) {
    const auto word = text.units(label.begin, label.end);
    if (word == u"name") {  // "name": "x" of a program, "project name: x"
      const char16_t before = text[label.begin - 1];
      if (before == u'"' || before == u'_' || before == u'\'' || before == u'-' || before == u'.') return;
      if (before == u' ' && text.letter(label.begin - 2)) return;
    }
    end = english_name(text, k, false);
    // "name: Run tests", "name: CI/CD", "name: deploy"
    const bool goes_on = text[end] == u'/' || text[end] == u'_' ||
                         (text.space(end) && text.letter(end + 1) && !text.upper(end + 1));
    const bool one_word = end != 0 && text.units(k, end).find(u' ') == std::u16string_view::npos;
    if (word == u"name" && (goes_on || (one_word && !text.upper(label.begin)))) end = 0;
  }
  if (end != 0)
    out.add(PiiKind::kName, k, end, label.topic == PiiTopic::kSelf ? 0.8f : 0.65f, spaced(text, k, end));
}

void find_name_before(const PiiText& text, const PiiWord& title, PiiFindings& out) {
  const size_t t = title.begin;
  if (text[title.end] == u'们' || text[title.end] == u'們' || t == 0 || !text.han(t - 1)) return;
  const auto word = text.units(title.begin, title.end);
  const bool plain = word == u"先生" || word == u"女士" || word == u"小姐" || word == u"太太" ||
                     word == u"阿姨" || word == u"叔叔";
  // Surnames that often end another word: 对方, 关于, 公安.
  static const Characters endings(u"方于何车解管包单游易程安金白任高万常成关向路江文古连曲时");
  const bool one = t >= 1 && given().has(text[t - 1]), two = one && t >= 2 && given().has(text[t - 2]);
  const bool three_long =
      t >= 3 && ((compound(text, t - 3) != 0 && one) ||
                 (surnames().has(text[t - 3]) && two && !is_word(text, t - 3) && !is_word(text, t - 2) &&
                  !(surnames().has(text[t - 2]) && endings.has(text[t - 3]) && text.han(t - 4))));
  const bool two_long =
      t >= 2 && (compound(text, t - 2) != 0 || (surnames().has(text[t - 2]) && one && !is_word(text, t - 2)));
  size_t begin = three_long ? t - 3 : two_long ? t - 2 : t;
  if (begin == t && surnames().has(text[t - 1])) {
    static const Characters left(u"找问请给和跟是叫让的由对与谢好您为向联见约姓位系到说下");
    const bool bounded = t < 2 || !text.han(t - 2) || left.has(text[t - 2]);
    const bool word_before = t >= 2 && pii_word_before(text, t - 1).topic > PiiTopic::kConnector;
    if (bounded || word_before || (plain && !endings.has(text[t - 1]))) begin = t - 1;
  }
  if (begin == t) return;
  // 高中老师, 骨科医生: a word may own the first character.
  if (!plain && begin + 1 < t && pii_word_at(text, begin).topic > PiiTopic::kConnector) return;
  if (text[begin - 1] == u'某') return;
  out.add(PiiKind::kName, begin, t, plain ? 0.75f : 0.6f, spaced(text, begin, t));
}

void find_names_beside_numbers(const PiiText& text, PiiFindings& out) {
  const size_t count = out.found.size();
  const auto exactly = [&](size_t begin, size_t end) {  // a whole name and nothing else
    const size_t n = end - begin, family = compound(text, begin);
    if (family != 0) return n >= 3 && n <= 4;
    if (n < 2 || n > 3 || !surnames().has(text[begin]) || is_word(text, begin)) return false;
    for (size_t k = begin + 1; k < end; ++k)
      if (!given().has(text[k])) return false;
    return pii_word_at(text, begin).topic == PiiTopic::kNone;
  };
  for (size_t n = 0; n < count; ++n) {
    const PiiCandidate c = out.found[n];
    if (c.kind != PiiKind::kMobile && c.kind != PiiKind::kLandline && c.kind != PiiKind::kIdCard) continue;
    const auto gap = [&](size_t i) {
      return text.space(i) || text[i] == u',' || text[i] == u':' || text[i] == u'/' || text[i] == u'(' ||
             text[i] == u'、';
    };
    size_t end = c.begin;
    while (end > 0 && c.begin - end < 3 && gap(end - 1)) --end;
    const PiiWord label = pii_word_before(text, end);
    if (label.topic == PiiTopic::kPhone && !text.letter(label.begin)) {
      end = label.begin;
      while (end > 0 && label.begin - end < 3 && gap(end - 1)) --end;
    }
    size_t begin = end;
    while (begin > 0 && end - begin < 5 && text.han(begin - 1)) --begin;
    if (exactly(begin, end)) out.add(PiiKind::kName, begin, end, 0.6f, spaced(text, begin, end));
    begin = c.end;
    while (begin < c.end + 3 && gap(begin)) ++begin;
    end = begin;
    while (end < begin + 5 && text.han(end)) ++end;
    if (exactly(begin, end)) out.add(PiiKind::kName, begin, end, 0.6f, spaced(text, begin, end));
  }
}

}  // namespace decant
