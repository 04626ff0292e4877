// Addresses. Chinese: a road with a number, a community with a building, places and a road after a word for
// address. English: number, street name, street word. A component that begins with 某, a street that begins
// with "Qux" or a number that begins with 0 is a surrogate.
#include <algorithm>
#include <array>
#include <bitset>

#include "data_pipeline/pii_finders.h"

namespace decant {

namespace {

using Words = std::initializer_list<std::u16string_view>;

size_t starts_any(const PiiText& text, size_t i, Words words) {  // the word's length, 0: none
  for (const auto word : words)
    if (text.starts(i, word)) return word.size();
  return 0;
}

size_t ends_any(const PiiText& text, size_t i, Words words) {
  for (const auto word : words)
    if (text.ends(i, word)) return word.size();
  return 0;
}

bool contains(std::u16string_view set, char16_t unit) { return set.find(unit) != std::u16string_view::npos; }

// Provinces and large cities, where an address may begin.
constexpr std::u16string_view kPlaces[] = {
    u"北京", u"天津", u"上海", u"重庆",     u"河北",   u"山西",   u"辽宁", u"吉林",   u"黑龙江", u"江苏",
    u"浙江", u"安徽", u"福建", u"江西",     u"山东",   u"河南",   u"湖北", u"湖南",   u"广东",   u"海南",
    u"四川", u"贵州", u"云南", u"陕西",     u"甘肃",   u"青海",   u"台湾", u"内蒙古", u"广西",   u"西藏",
    u"宁夏", u"新疆", u"香港", u"澳门",     u"广州",   u"深圳",   u"杭州", u"南京",   u"苏州",   u"成都",
    u"武汉", u"西安", u"长沙", u"郑州",     u"青岛",   u"大连",   u"宁波", u"厦门",   u"福州",   u"合肥",
    u"济南", u"昆明", u"沈阳", u"长春",     u"哈尔滨", u"石家庄", u"太原", u"南昌",   u"南宁",   u"贵阳",
    u"兰州", u"西宁", u"银川", u"乌鲁木齐", u"海口",   u"三亚",   u"无锡", u"常州",   u"南通",   u"扬州",
    u"徐州", u"温州", u"嘉兴", u"绍兴",     u"金华",   u"台州",   u"佛山", u"东莞",   u"珠海",   u"中山",
    u"惠州", u"汕头", u"泉州", u"烟台",     u"潍坊",   u"洛阳",   u"唐山", u"保定",   u"义乌",   u"昆山"};

size_t place_at(const PiiText& text, size_t i) {
  static const auto first = [] {
    std::bitset<0x10000> units;
    for (const auto place : kPlaces) units.set(place[0]);
    return units;
  }();
  if (!first.test(text[i])) return 0;
  for (const auto place : kPlaces)
    if (text.starts(i, place)) return place.size();
  return 0;
}

constexpr std::u16string_view kStops =
    u"在到寄送址住是请請把给給你他她您我的了往从從哪这這那吗呢吧叫离離沿递说說找";
constexpr std::u16string_view kNumerals = u"一二三四五六七八九十百零〇甲乙丙丁";

bool address_unit(const PiiText& text, size_t i) { return text.han(i) || text.alnum(i); }

// A number, a letter or both: 100, 12A, 三十二, B; its end, `i` when there is none.
size_t number_end(const PiiText& text, size_t i) {
  size_t k = i;
  if (contains(kNumerals, text[k]) && text[k] != 0) {
    while (k < i + 5 && text[k] != 0 && contains(kNumerals, text[k])) ++k;
    return k;
  }
  if (text.letter(k) && !text.letter(k + 1)) ++k;
  const size_t digits = k;
  while (text.digit(k) && k < digits + 6) ++k;
  if (text.digit(k)) return i;
  if (k > digits && text[k] == u'-' && text.digit(k + 1)) {
    size_t e = k + 1;
    while (text.digit(e) && e < k + 6) ++e;
    if (!text.digit(e)) k = e;
  }
  if (k > digits && text.letter(k) && !text.letter(k + 1) && !text.digit(k + 1)) ++k;
  return k;
}

constexpr Words kNumbered = {u"号楼", u"號樓", u"号院", u"号门", u"号铺", u"号", u"號", u"弄", u"栋",
                             u"棟",   u"幢",   u"座",   u"单元", u"單元", u"楼", u"樓", u"层", u"層",
                             u"室",   u"房",   u"户",   u"门",   u"支弄", u"组", u"期"};
constexpr Words kBuildings = {u"小区",     u"社区",   u"花园",   u"花苑", u"家园", u"公寓", u"大厦",
                              u"大廈",     u"广场",   u"廣場",   u"新村", u"新城", u"大楼", u"写字楼",
                              u"科技园",   u"产业园", u"工业园", u"园区", u"别墅", u"宿舍", u"国际中心",
                              u"商务中心", u"雅苑",   u"名苑",   u"佳苑", u"嘉园", u"苑",   u"大院"};

// 号 3栋 2单元 501室 behind `k`; the end.
size_t numbered_parts(const PiiText& text, size_t k) {
  for (int part = 0; part < 8; ++part) {
    size_t from = k;
    if (text.space(from) || text[from] == u'-' || text[from] == u',') ++from;
    const size_t number = number_end(text, from);
    if (number == from) return k;
    const size_t gap = text.space(number) ? 1 : 0;  // 102 号
    const size_t unit = starts_any(text, number + gap, kNumbered);
    if (unit != 0) {
      k = number + gap + unit;
    } else if (part > 0 && text.digit(from) && !text.alnum(number) && number - from >= 2 &&
               text[from - 1] != u',' && from != k + (text.space(k) ? 1u : 0u)) {
      k = number;
    } else if (part > 0 && from == k && text.digit(from) && number - from >= 3 && !text.alnum(number)) {
      return number;  // 3栋501
    } else {
      return k;
    }
  }
  return k;
}

// Buildings by name and what is numbered behind them.
size_t right_end(const PiiText& text, size_t i) {
  size_t k = numbered_parts(text, i);
  for (int rounds = 0; rounds < 3; ++rounds) {
    size_t from = k;
    if (text.space(from)) ++from;
    size_t e = from, named = 0;
    while (e < from + 12 && address_unit(text, e) && !contains(kStops, text[e])) {
      ++e;
      if (e >= from + 3 && ends_any(text, e, kBuildings) != 0) named = e;
    }
    if (named == 0) break;
    k = numbered_parts(text, named);
  }
  return k;
}

// Where the place names before `anchor` begin.
size_t left_begin(const PiiText& text, size_t anchor, size_t floor) {
  size_t l = anchor;
  while (l > floor && anchor - l < 30 && text.han(l - 1) && !contains(kStops, text[l - 1])) {
    if (contains(u"点于至递送址货往近边面以及者", text[l - 1]) &&
        ends_any(text, l,
                 {u"地点", u"位于", u"寄至", u"送至", u"搬至", u"发至", u"快递", u"配送", u"地址", u"发货",
                  u"收货", u"前往", u"附近", u"旁边", u"对面", u"可以", u"以及", u"或者"}) != 0)
      break;
    --l;
  }
  for (size_t s = l; s + 2 < anchor; ++s)
    if (place_at(text, s) != 0) return s;
  // Without a known place: from the first administrative suffix's own name, or the road's.
  for (size_t s = l + 2; s < anchor; ++s)
    if (contains(u"省市区區县縣镇鎮乡鄉州村", text[s])) return s - l > 5 ? s - 3 : l;
  return anchor - l > 6 ? anchor - 6 : l;
}

bool is_surrogate(const PiiText& text, size_t begin, size_t end) {
  return text.units(begin, end).find(u'某') != std::u16string_view::npos;
}

std::string compact(const PiiText& text, size_t begin, size_t end) {
  std::string value = text.ascii(begin, end);
  std::erase(value, ' ');
  return value;
}

// The end of a road's name that ends with unit i (路, 大道, 胡同, 北段); 0 when the unit belongs to another
// word.
size_t road_end(const PiiText& text, size_t i) {
  const char16_t c = text[i];
  if (!text.han(i - 1)) {
    if (!(text.digit(i - 1) || text.letter(i - 1))) return 0;
    if (c != u'路') return 0;
  }
  const char16_t before = text[i - 1];
  if (before == c) return 0;
  switch (c) {
    case u'路':
      if (contains(u"线電电思套短走迷上半出铁网网一这那条带问公马小", before) &&
          !(before == u'马' && text.han(i - 2)))
        return 0;
      break;
    case u'街':
      if (contains(u"逛上这那条", before)) return 0;
      break;
    case u'道':
      if (before != u'大' && contains(u"知难味频报渠管通街地力轨跑车行人公门这那赛远遂隧一铁几", before))
        return 0;
      break;
    case u'巷':
    case u'弄':
      if (contains(u"这那条一小", before) || (c == u'弄' && contains(u"捉作搬玩摆戏", before))) return 0;
      break;
    case u'同':
      if (before != u'胡') return 0;
      break;
    case u'衕':
      break;
    default:
      return 0;
  }
  size_t k = i + 1;
  if (contains(u"东南西北中東", text[k]) && text[k] != 0 && contains(u"路街段巷里", text[k + 1]) &&
      text[k + 1] != 0)
    k += 2;
  if (contains(u"一二三四五", text[k]) && text[k] != 0 &&
      (text[k + 1] == u'段' || text[k + 1] == u'巷' || text[k + 1] == u'路'))
    k += 2;
  if (text[k] == u'段' || text.starts(k, u"支路")) k += text[k] == u'段' ? 1 : 2;
  return k;
}

struct Grammar {
  size_t end = 0;
  int places = 0;  // administrative levels
  bool road = false, numbered = false, building = false;
};

// How far place names, roads, buildings and numbers reach from `begin`.
Grammar grammar(const PiiText& text, size_t begin) {
  Grammar g;
  size_t part = begin;  // where the current name began
  for (size_t k = begin; k < begin + 60;) {
    if (text.digit(k) || (text.letter(k) && !text.letter(k + 1))) {
      const size_t end = numbered_parts(text, k);
      if (end > k) {
        g.numbered = true;
        g.end = part = k = end;
        continue;
      }
      const size_t number = number_end(text, k);
      if (number == k) break;
      k = number;
      continue;
    }
    if (text.space(k) && address_unit(text, k + 1) && !text.letter(k + 1)) {
      ++k;
      continue;
    }
    if (!text.han(k) || contains(kStops, text[k])) break;
    const size_t place = k == part ? place_at(text, k) : 0;
    if (place != 0) {
      ++g.places;
      k += place;
      if (contains(u"省市", text[k]) && text[k] != 0) ++k;
      if (text.starts(k, u"自治区")) k += 3;
      g.end = std::max(g.end, k);
      part = k;
      continue;
    }
    ++k;
    if (k - part > 12) break;
    if (k - part >= 2 && contains(u"省市区區县縣镇鎮乡鄉州旗", text[k - 1]) &&
        ends_any(text, k, {u"小区", u"地区", u"社区", u"园区", u"景区", u"城市", u"超市", u"夜市"}) == 0) {
      ++g.places;
      g.end = part = k;
    } else if (k - part >= 2 && contains(u"路街道巷弄同", text[k - 1])) {
      const size_t end = road_end(text, k - 1);
      if (end != 0) {
        g.road = true;
        g.end = part = k = end;
      }
    } else if ((k - part >= 3 && ends_any(text, k, kBuildings) != 0) ||
               (k - part >= 2 && g.places > 0 && (text[k - 1] == u'村' || text[k - 1] == u'屯'))) {
      g.building = true;
      g.end = part = k;
    }
  }
  return g;
}

}  // namespace

bool pii_address_unit(char16_t unit) {
  return std::any_of(std::begin(kPlaces), std::end(kPlaces), [&](auto place) { return place[0] == unit; }) ||
         contains(u"路街道巷弄同区苑园厦厂寓村场", unit);
}

void find_chinese_address(const PiiText& text, size_t i, PiiFindings& out) {
  if (place_at(text, i) != 0) {  // 湖南省衡阳市衡南县云集镇东湖村3组
    const Grammar g = grammar(text, i);
    if (g.places >= 2 && (g.road || g.numbered || g.building) && !is_surrogate(text, i, g.end))
      out.add(PiiKind::kAddress, i, g.end, 0.65f, compact(text, i, g.end));
  }
  size_t anchor = road_end(text, i);
  size_t end = 0;
  if (anchor != 0) {
    end = right_end(text, anchor);
    // 100号 only: a unit must follow the number; 第3号 and dates are of others
    if (end == anchor) {
      const size_t begin = left_begin(text, i, 0);
      const Grammar g = grammar(text, begin);
      if (g.places >= 2 && g.road && g.end >= anchor && !is_surrogate(text, begin, g.end))
        out.add(PiiKind::kAddress, begin, g.end, 0.65f, compact(text, begin, g.end));
      return;
    }
  } else if (ends_any(text, i + 1, kBuildings) != 0) {
    anchor = i + 1;
    end = numbered_parts(text, anchor);
    // 小区3栋: a building's number, not 小区5号 (a date) nor 3楼 of any kind
    if (end == anchor) return;
    if (ends_any(text, end, {u"栋", u"棟", u"幢", u"座", u"单元", u"單元", u"室", u"号楼", u"號樓"}) == 0 &&
        !text.digit(end - 1))
      return;
  } else {
    return;
  }
  size_t begin = left_begin(text, i, 0);
  if (begin >= i) return;
  if (text[end] == u'线' || text[end] == u'線') return;  // 10号线
  if (is_surrogate(text, begin, end)) return;
  const PiiContext c = pii_context(text, begin, end);
  out.add(PiiKind::kAddress, begin, end, pii_score(c, 0.65f, {PiiTopic::kAddress}),
          compact(text, begin, end));
}

void find_labelled_address(const PiiText& text, const PiiWord& label, PiiFindings& out) {
  const size_t begin = pii_after_label(text, label.end);
  if (!text.han(begin)) return;
  const Grammar g = grammar(text, begin);
  if (g.end <= begin + 3) return;
  const bool enough = g.road || g.places >= 2 || (g.building && g.numbered) || (g.places >= 1 && g.building);
  if (!enough || is_surrogate(text, begin, g.end)) return;
  out.add(PiiKind::kAddress, begin, g.end, 0.75f, compact(text, begin, g.end));
}

namespace {

struct Token {
  size_t begin = 0, end = 0;
};

Token word_token(const PiiText& text, size_t i) {
  size_t k = i;
  while ((text.alnum(k) || (text[k] == u'\'' && text.letter(k + 1))) && k < i + 24) ++k;
  return {i, k};
}

bool is_one_of(std::u16string_view word, Words words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

constexpr Words kStreets = {u"street", u"st", u"avenue",  u"ave", u"road",    u"rd",   u"boulevard", u"blvd",
                            u"lane",   u"ln", u"highway", u"hwy", u"parkway", u"pkwy", u"terrace"};
constexpr Words kStreetsToo = {u"drive",  u"dr",   u"court",   u"ct",    u"way",   u"place", u"pl",
                               u"square", u"sq",   u"circle",  u"cir",   u"trail", u"close", u"crescent",
                               u"row",    u"walk", u"gardens", u"grove", u"mews"};
// Other street words of the United States Postal Service: only after a word for address.
constexpr Words kStreetsElsewhere = {
    u"alley",     u"bend",       u"branch",    u"bridge",     u"brook",     u"burg",       u"bypass",
    u"canyon",    u"cape",       u"causeway",  u"center",     u"cliff",     u"common",     u"corner",
    u"course",    u"cove",       u"creek",     u"crest",      u"crossing",  u"curve",      u"dale",
    u"divide",    u"estate",     u"estates",   u"expressway", u"extension", u"falls",      u"ferry",
    u"field",     u"fields",     u"flats",     u"ford",       u"forest",    u"forge",      u"fork",
    u"fort",      u"freeway",    u"garden",    u"gateway",    u"glen",      u"green",      u"harbor",
    u"haven",     u"heights",    u"hill",      u"hills",      u"hollow",    u"inlet",      u"island",
    u"junction",  u"key",        u"knoll",     u"lake",       u"lakes",     u"landing",    u"loop",
    u"mall",      u"manor",      u"manors",    u"meadow",     u"meadows",   u"mill",       u"mills",
    u"mission",   u"motorway",   u"mount",     u"mountain",   u"neck",      u"orchard",    u"oval",
    u"overpass",  u"park",       u"pass",      u"passage",    u"path",      u"pike",       u"pine",
    u"pines",     u"plain",      u"plains",    u"plaza",      u"point",     u"points",     u"port",
    u"prairie",   u"radial",     u"ramp",      u"ranch",      u"rapids",    u"rest",       u"ridge",
    u"river",     u"route",      u"run",       u"shore",      u"shores",    u"spring",     u"springs",
    u"spur",      u"station",    u"stravenue", u"stream",     u"summit",    u"throughway", u"trace",
    u"track",     u"trafficway", u"tunnel",    u"turnpike",   u"underpass", u"union",      u"valley",
    u"via",       u"viaduct",    u"view",      u"village",    u"villages",  u"ville",      u"vista",
    u"well",      u"wells",      u"ways",      u"walks",      u"squares",   u"streets",    u"roads",
    u"places",    u"drives",     u"courts",    u"circles",    u"islands",   u"corners",    u"coves",
    u"crossroad", u"knolls",     u"locks",     u"lodge",      u"light",     u"lights",     u"bluff",
    u"bluffs",    u"bottom",     u"brooks",    u"camp",       u"club",      u"dam",        u"groves",
    u"isle",      u"skyway",     u"parks",     u"parkways"};
constexpr Words kUnits = {u"apt",  u"apartment", u"suite", u"ste",  u"unit",
                          u"room", u"rm",        u"floor", u"flat", u"#"};
constexpr Words kNoStreet = {
    u"on",    u"the",    u"of",      u"in",  u"to",   u"a",      u"an",        u"and",    u"down",  u"up",
    u"at",    u"miles",  u"minutes", u"min", u"mins", u"hours",  u"from",      u"off",    u"for",   u"by",
    u"more",  u"people", u"or",      u"per", u"with", u"blocks", u"feet",      u"meters", u"is",    u"are",
    u"you",   u"this",   u"that",    u"one", u"am",   u"pm",     u"different", u"days",   u"times", u"day",
    u"steps", u"cars",   u"lanes",   u"way", u"hour", u"best"};

// ", Suite 641", ", San Francisco, CA 94134", ", London SW1A 1AA" behind `end`.
size_t address_tail(const PiiText& text, size_t end) {
  size_t k = end;
  if (text[k] == u'.' && (text.space(k + 1) || text[k + 1] == u',')) ++k;
  size_t from = k;
  while ((text[from] == u',' || text.space(from)) && from < k + 3) ++from;
  const Token unit = word_token(text, from);
  if (text[from] == u'#' || is_one_of(text.units(unit.begin, unit.end), kUnits)) {
    size_t number = text[from] == u'#' ? from + 1 : unit.end;
    if (text[number] == u'.') ++number;
    if (text.space(number)) ++number;
    if (text[number] == u'#') ++number;
    const Token value = word_token(text, number);
    if (value.end > value.begin && value.end - value.begin <= 5) end = k = value.end;
  }
  // city, state and postal code, when the code is there
  from = k;
  while ((text[from] == u',' || text.space(from)) && from < k + 3) ++from;
  if (from == k) return end;
  size_t at = from;
  for (int words = 0; words < 6; ++words) {
    const Token word = word_token(text, at);
    if (word.end == word.begin) break;
    const size_t n = word.end - word.begin;
    bool digits = n == 5;
    for (size_t d = word.begin; d < word.end; ++d) digits = digits && text.digit(d);
    if (digits) {
      size_t e = word.end;
      if (text[e] == u'-' && text.digit(e + 1) && text.digit(e + 4) && !text.alnum(e + 5)) e += 5;
      return words >= 1 ? e : end;
    }
    if (text.digit(word.begin)) break;
    at = word.end;
    while ((text[at] == u',' || text.space(at)) && at < word.end + 3) ++at;
    if (at == word.end) break;
  }
  return end;
}

}  // namespace

bool pii_street_word(std::u16string_view word) {
  return is_one_of(word, kStreets) || is_one_of(word, kStreetsToo) || is_one_of(word, kUnits);
}

void find_english_address(const PiiText& text, size_t i, PiiFindings& out) {
  if (text[i] == u'0' || text.letter(i - 1) || pii_joined_left(text, i) || text[i - 1] == u'$') return;
  size_t k = i;
  while (text.digit(k) && k < i + 6) ++k;
  const size_t number = k - i;
  if (text.digit(k)) return;
  if (text.letter(k) && !text.alnum(k + 1)) ++k;
  if (!text.space(k)) return;
  ++k;
  bool capitals = true;
  for (int words = 0; words < 5; ++words) {
    const Token word = word_token(text, k);
    if (word.end == word.begin) return;
    const auto name = text.units(word.begin, word.end);
    const bool strong = is_one_of(name, kStreets), weak = !strong && is_one_of(name, kStreetsToo);
    if (words > 0 && (strong || (weak && text.upper(word.begin)))) {
      if (name == u"st" && text[word.end] == u'.' && text.space(word.end + 1) && text.letter(word.end + 2) &&
          words == 0)
        continue;
      if (weak && !(capitals && number >= 2)) return;
      const size_t end = address_tail(text, word.end);
      const PiiContext c = pii_context(text, i, end);
      float base = capitals ? 0.6f : number >= 3 ? 0.5f : 0.35f;
      if (end > word.end + 1) base += 0.2f;
      if (c.near(PiiTopic::kAddress)) base += 0.2f;
      if (c.label == PiiTopic::kMoney || c.label == PiiTopic::kVersion) base -= 0.4f;
      out.add(PiiKind::kAddress, i, end, base, compact(text, i, end));
      return;
    }
    const Token after = word_token(text, word.end + 1);
    const auto next = text.units(after.begin, after.end);
    if (words > 0 && number >= 2 && capitals && text.upper(word.begin) &&
        is_one_of(name, kStreetsElsewhere) && !is_one_of(next, kStreets) && !is_one_of(next, kStreetsToo) &&
        !is_one_of(next, kStreetsElsewhere)) {
      const size_t end = address_tail(text, word.end);
      if (pii_context(text, i, end).label == PiiTopic::kAddress) {
        out.add(PiiKind::kAddress, i, end, 0.7f, compact(text, i, end));
        return;
      }
    }
    if (name.starts_with(u"qux") || is_one_of(name, kNoStreet)) return;
    if (!text.upper(word.begin) && !text.digit(word.begin)) capitals = false;
    if (text.digit(word.begin) && (words > 0 || !text.letter(word.end - 1))) return;
    k = word.end;
    if (text[k] == u'.') ++k;
    if (!text.space(k)) return;
    ++k;
  }
}

}  // namespace decant
