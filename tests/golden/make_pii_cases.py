#!/usr/bin/env python3
"""Labelled sentences for tests/data_pipeline/pii_cases_test.cpp: every kind of personal data in Chinese and English
service sentences, and hard negatives. Usage: make_pii_cases.py > pii_cases.jsonl

A line is {"text", "spans": [[kind, text], ...]}; what is not in spans must be left alone. Seeded; values are made by
the rules of each format (check digits, prefixes, lengths) and belong to no one we know.
"""
import base64
import json
import random

R = random.Random(20261125)
PER_KIND = 44


def digits(n, first="0123456789"):
    return R.choice(first) + "".join(R.choice("0123456789") for _ in range(n - 1))


def luhn_digit(body):
    total = 0
    for i, c in enumerate(reversed(body)):
        d = int(c)
        if i % 2 == 0:
            d = d * 2 - 9 if d > 4 else d * 2
        total += d
    return str(-total % 10)


def group(s, sizes, mark):
    out, at = [], 0
    for n in sizes:
        out.append(s[at:at + n])
        at += n
    if at < len(s):
        out.append(s[at:])
    return mark.join(out)


def birth():
    return R.randint(1950, 2010), R.randint(1, 12), R.randint(1, 28)


def id_card():
    region = R.choice("110101 310115 440305 330106 510104 420106 320583 610113 210202 370203 500112 120104 650102".split())
    y, m, d = birth()
    body = f"{region}{y}{m:02}{d:02}{R.randint(1, 999):03}"
    total = sum(int(c) * pow(2, 17 - i, 11) for i, c in enumerate(body))
    v = body + "10X98765432"[total % 11]
    return R.choice([v, v, v, v.lower(), group(v, [6, 8], " "), group(v, [6, 4, 4], "-")])


def mobile():
    v = "1" + R.choice("3456789") + digits(9)
    return R.choice([v, v, v, group(v, [3, 4], " "), group(v, [3, 4], "-")])


def landline():
    area, n = R.choice([("010", 8), ("021", 8), ("020", 8), ("0755", 8), ("0571", 8), ("028", 8), ("0532", 8), ("0312", 7),
                        ("0991", 7), ("0898", 8), ("0431", 8), ("0771", 7)])
    local = digits(n, "2345678")
    return R.choice([f"{area}-{local}", f"{area}-{local}", f"({area}){local}", f"{area} {local}", f"{area}-{local}-{digits(3, '1234567')}",
                     "400-" + digits(3) + "-" + digits(4), "400-" + digits(7), "800-" + digits(3) + "-" + digits(4)])


def phone():
    us = f"{R.choice(['212', '415', '617', '305', '702', '503', '972'])}", digits(3, "23456789"), digits(4)
    return R.choice([
        "({}) {}-{}".format(*us), "{}-{}-{}".format(*us), "{}.{}.{}".format(*us), "+1 {} {} {}".format(*us), "+1-{}-{}-{}".format(*us),
        f"+44 20 {digits(4, '37')} {digits(4)}", f"+44 7{digits(3, '4579')} {digits(6)}", f"+49 30 {digits(8, '123456789')}",
        f"+33 6 {digits(2)} {digits(2)} {digits(2)} {digits(2)}", f"+852 {digits(4, '569')} {digits(4)}", f"+65 {digits(4, '89')} {digits(4)}",
        f"+886 9{digits(2)} {digits(3)} {digits(3)}", f"+81 90-{digits(4)}-{digits(4)}", f"+61 4{digits(2)} {digits(3)} {digits(3)}",
        f"+91 9{digits(4)} {digits(5)}", f"+82 10-{digits(4, '23456789')}-{digits(4)}", f"+55 11 9{digits(4)}-{digits(4)}"])


def bank_card():
    prefix, n = R.choice([("621700", 19), ("622202", 19), ("622848", 19), ("621661", 19), ("622588", 16), ("625", 16), ("4", 16),
                          ("51", 16), ("55", 16), ("2221", 16), ("37", 15), ("3528", 16), ("6011", 16), ("623", 18)])
    body = prefix + digits(n - len(prefix) - 1)
    v = body + luhn_digit(body)
    if n == 15:
        return R.choice([v, group(v, [4, 6], " ")])
    return R.choice([v, v, group(v, [4, 4, 4, 4][:n // 4], " ") if n % 4 else group(v, [4, 4, 4], " "), v])


def passport():
    return R.choice(["E" + digits(8), "EA" + digits(7), "EJ" + digits(7), "G" + digits(8), "D" + digits(8), "PE" + digits(7)])


def passport_foreign():
    return R.choice([digits(9, "456"), "TK" + digits(7), "M" + digits(8), "K" + digits(7), "A" + digits(8), "AB" + digits(6)])


def hk_id():
    letter, body = R.choice("ACDGKPRVYZ"), digits(6)
    total = 36 * 9 + (ord(letter) - 55) * 8 + sum(int(c) * w for c, w in zip(body, range(7, 1, -1)))
    check = -total % 11
    return f"{letter}{body}({'A' if check == 10 else check})"


def permit():
    return R.choice([("H" + digits(8), "港澳"), ("M" + digits(8), "港澳"), ("H" + digits(10), "港澳"), (digits(8, "0123"), "台胞"),
                     ("C" + digits(8), "往来港澳"), ("W" + digits(8), "往来港澳")])


def plate():
    p = R.choice("京沪粤浙苏鲁川渝鄂湘冀豫辽陕闽津皖赣琼")
    c = R.choice("ABCDEFGH")
    abc = "ABCDEFGHJKLMNPQRSTUVWXYZ"
    return R.choice([f"{p}{c}{digits(5)}", f"{p}{c}·{digits(5)}", f"{p}{c}{R.choice(abc)}{digits(4)}", f"{p}{c}{digits(4)}{R.choice(abc)}",
                     f"{p}{c}{R.choice('DF')}{digits(5)}", f"{p}{c}{digits(5)}{R.choice('DF')}", f"{p}{c}{digits(3)}{R.choice(abc)}{R.choice(abc)}"])


def credit_code():
    abc = "0123456789ABCDEFGHJKLMNPQRTUWXY"
    body = R.choice(["91", "91", "92", "52", "12", "51"]) + R.choice(["110108", "310115", "440300", "330106", "320507"]) + "MA" + \
        "".join(R.choice(abc) for _ in range(7))
    total = sum(abc.index(c) * pow(3, i, 31) for i, c in enumerate(body))
    return body + abc[-total % 31]


def iban():
    country, shape = R.choice([("DE", "d18"), ("GB", "a4d14"), ("NL", "a4d10"), ("ES", "d20"), ("AT", "d16"), ("BE", "d12"), ("CH", "d17"),
                               ("PL", "d24"), ("SE", "d20"), ("NO", "d11"), ("AE", "d19")])
    bban = ""
    for part in shape.replace("a", " a").replace("d", " d").split():
        bban += "".join(R.choice("ABCDEFGHKLMNP" if part[0] == "a" else "0123456789") for _ in range(int(part[1:])))
    number = int("".join(str(int(c, 36)) for c in bban + country + "00"))
    v = f"{country}{98 - number % 97:02}{bban}"
    return R.choice([v, " ".join(v[i:i + 4] for i in range(0, len(v), 4))])


def imei():
    body = R.choice(["35", "86", "01"]) + digits(12)
    return body + luhn_digit(body)


def ip():
    if R.random() < 0.25:
        v6 = [f"{R.randint(0x2400, 0x2a0f):x}"] + [f"{R.randint(1, 0xffff):x}" for _ in range(7)]
        return R.choice([":".join(v6), ":".join(v6[:3]) + "::" + v6[7]])
    while True:
        a, b, c, d = (R.randint(1, 223), *(R.randint(0, 255) for _ in range(3)))
        if a not in (10, 100, 127, 169, 172, 192, 198, 203) and max(a, b, c, d) >= 20:
            return f"{a}.{b}.{c}.{d}"


def mac():
    pairs = [f"{R.randint(0, 255) & 0xfe:02x}"] + [f"{R.randint(0, 255):02x}" for _ in range(4)] + [R.choice("abcdef") + R.choice("0123456789")]
    v = R.choice(":-").join(pairs)
    return R.choice([v, v.upper()])


def email():
    name = R.choice(["li.wei", "chen_hua", "zhang88", "anna.k", "j.doe+news", "support-team", "xiaoming2001", "m_b", "o'neil.p"])
    host = R.choice(["163.com", "qq.com", "gmail.com", "mail.example.co.uk", "corp-mail.cn", "outlook.com", "firma.de", "uni.edu.cn"])
    return f"{name}{R.choice(['', digits(2)])}@{host}"


def secret():
    alnum = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    def s(n, abc=alnum):
        return "".join(R.choice(abc) for _ in range(n - 1)) + R.choice("0123456789")
    def b64(o):
        return base64.urlsafe_b64encode(json.dumps(o).encode()).decode().rstrip("=")
    jwt = b64({"alg": "HS256", "typ": "JWT"}) + "." + b64({"sub": digits(6)}) + "." + s(43)
    return R.choice(["sk-" + s(48), "sk-proj-" + s(40), "AKIA" + s(16, "ABCDEFGHJKLMNPQRSTUVWXYZ234567"), "ghp_" + s(36), "glpat-" + s(20),
                     "xoxb-" + digits(11) + "-" + s(24), "AIza" + s(35), "sk_live_" + s(24), jwt, "hf_" + s(34), "LTAI" + s(20)])


def password():
    return R.choice(["Sunny", "tiger", "Lucky", "qwErt", "Blue_"]) + R.choice("!@#_-.") + digits(4)


SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘蔡蒋余于杜叶程魏苏吕丁任卢姚沈钟姜崔谭陆范汪廖"
GIVEN = ["伟", "芳", "娜", "秀英", "敏", "静", "丽华", "强", "磊", "洋", "艳", "勇", "杰", "娟", "涛", "明辉", "超", "桂兰", "霞", "平", "建国", "志强",
         "晓东", "雨欣", "子涵", "浩然", "佳怡", "文博", "海燕", "雪梅", "思远", "俊杰", "婷婷", "嘉琪", "宇航", "国庆"]


def zh_name():
    return R.choice(["欧阳", "司马", "诸葛"]) + R.choice(["文", "静", "明"]) if R.random() < 0.06 else R.choice(SURNAMES) + R.choice(GIVEN)


def en_name():
    return R.choice(["Emma", "Liam", "Olivia", "Noah", "Sofia", "Lucas", "Mia", "Ethan", "Grace", "Henry", "Chloe", "Daniel"]) + " " + \
        R.choice(["Carter", "Nguyen", "Rossi", "Miller", "Schmidt", "Okafor", "Lopez", "O'Brien", "Kim", "Walsh", "Bennett"])


def zh_address():
    city = R.choice(["北京市朝阳区", "上海市浦东新区", "广东省深圳市南山区", "杭州市西湖区", "成都市武侯区", "江苏省苏州市工业园区", "武汉市洪山区", "西安市雁塔区",
                     "湖南省长沙市岳麓区", "山东省青岛市市南区", "重庆市渝北区", "福建省厦门市思明区"])
    road = R.choice(["建设路", "人民大道", "解放北路", "文三路", "中山东路", "科技园路", "长江西街", "学府路", "和平里大街", "幸福巷", "滨海大道", "锦绣路"])
    tail = R.choice(["", "3栋", "2单元501室", "A座1203室", "5号楼2单元802", "12楼"])
    return f"{city}{road}{R.randint(1, 999)}号{tail}"


def en_address():
    return f"{R.randint(10, 9999)} {R.choice(['Maple', 'Elm', 'Oak Hill', 'Washington', 'Sunset', 'Lake View', '5th', 'King'])} " + \
        R.choice(["Street", "Avenue", "Road", "Lane", "Blvd", "St"]) + R.choice(["", ", Apt 4B", ", Suite 210"]) + \
        R.choice([", Portland, OR 97201", ", Austin, TX 73301", ", Denver, CO 80202", ""])


def zh_date():
    y, m, d = birth()
    return R.choice([f"{y}年{m}月{d}日", f"{y}-{m:02}-{d:02}", f"{y}/{m:02}/{d:02}", f"{y}.{m}.{d}", f"{y}年{m:02}月{d:02}日"])


def en_date():
    y, m, d = birth()
    month = "January February March April May June July August September October November December".split()[m - 1]
    return R.choice([f"{month} {d}, {y}", f"{d} {month} {y}", f"{m:02}/{d:02}/{y}", f"{y}-{m:02}-{d:02}"])


# kind: (makers of values, sentences with {})
POSITIVE = {
    "id_card": ([id_card], ["麻烦帮我核对一下，身份证{}，谢谢", "实名认证用的是{}对吗？", "证件号码：{}", "乘机人证件{}，已出票", "My Chinese ID number is {}.",
                            "公民身份号码为{}，请尽快处理", "（{}）这个是办卡人的"]),
    "mobile": ([mobile], ["你好，我的手机是{}，请尽快回电", "收货电话写{}就行", "换绑到{}可以吗", "麻烦打这个号码{}，我现在方便", "please call my china cell {} after six",
                          "客服您好，{}收不到验证码", "预留手机号：{}，麻烦改一下", "联系电话+86{}"]),
    "landline": ([landline], ["公司座机{}，工作时间都有人", "传真请发到{}", "请拨打{}咨询售后", "电话：{}，转前台", "我们的固话是{}", "you can reach the Beijing office at {}"]),
    "phone": ([phone], ["You can reach me at {} any time.", "my phone number is {}, thanks", "Please call {} and ask for the manager", "海外联系电话{}，有时差",
                        "Tel: {}", "I tried {} but nobody answered"]),
    "bank_card": ([bank_card], ["退款请打到银行卡{}", "卡号{}，开户行建行", "My card {} was charged twice.", "还款卡{}扣款失败", "I paid with {} yesterday",
                                "收款账号：{}，麻烦核实", "绑定的信用卡是{}，想解绑"]),
    "passport": ([passport, passport_foreign], ["护照号码{}，周五的航班", "护照号：{}", "旅客护照{}姓名拼音错了", "my passport number is {}", "Passport No. {}, expires soon",
                                                "The passport {} was not recognised at the kiosk"]),
    "plate": ([plate], ["车牌{}停在B2层", "请给{}开一张月卡", "我的车是{}，怎么缴费", "车牌号：{}，白色轿车", "the plate is {}", "违章车辆{}的处理结果"]),
    "credit_code": ([credit_code], ["开票信息：税号{}", "统一社会信用代码{}，抬头见附件", "纳税人识别号：{}", "营业执照上写的是{}", "our USCC is {}"]),
    "qq": ([lambda: digits(R.randint(6, 10), "123456789")], ["加我QQ{}聊", "QQ：{}", "我的qq号是{}，随时在线", "qq {} 有问题找我", "联系QQ:{}，备注订单", "企鹅号{}"]),
    "wechat": ([lambda: R.choice(["wxid_", "lin_", "happy-", "zhao"]) + digits(R.randint(4, 8))], ["微信号：{}", "加我微信{}吧", "我的微信是{}，请通过一下", "WeChat ID: {}",
                                                                                          "wx：{}", "my wechat is {}", "VX:{}"]),
    "email": ([email], ["发票发到{}，谢谢", "邮箱：{}", "my e-mail is {}.", "please send it to {} today", "联系{}即可", "抄送（{}）"]),
    "ip": ([ip], ["登录IP是{}，不是我本人", "服务器{}连不上", "our host {} is down", "异常访问来源：{}", "I can ping {} but ssh fails", "IP地址 {} 被封了"]),
    "mac": ([mac], ["网卡MAC地址{}", "设备物理地址为{}", "MAC: {}", "the device {} keeps dropping off the wifi", "请放行{}"]),
    "imei": ([imei], ["手机IMEI是{}", "IMEI：{}，请查保修", "my IMEI is {}", "设备串号{}，机身发烫", "The phone's IMEI number {} is blocked"]),
    "iban": ([iban], ["请汇到IBAN {}", "my IBAN is {}", "refund to {}, please", "账户 {}（德国）", "IBAN: {}"]),
    "secret": ([secret], ["我把key贴给你：{}", "Authorization: Bearer {}", "the api key {} leaked", "export TOKEN={}", "密钥 {} 需要吊销"]),
    "secret ": ([password], ["登录密码是{}，帮我看看为什么登不上", "password: {}", "My password is {} but it says wrong", "密码：{}，账号同手机号", "pwd={}"]),
    "social_security": ([lambda: f"{R.randint(1, 665):03}-{R.randint(1, 99):02}-{R.randint(1, 9999):04}"],
                        ["my SSN is {}", "Social Security number: {}", "The SSN on file, {}, is wrong", "social security {}"]),
    "birth_date": ([zh_date], ["出生日期：{}", "我是{}出生的", "生日{}，想领生日券", "投保人生于{}", "会员资料里的出生日期应该是{}"]),
    "birth_date ": ([en_date], ["I was born on {}", "Date of birth: {}", "DOB {}", "my birthday is {}", "born {} in Ohio"]),
    "address": ([zh_address], ["收货地址改成{}，谢谢", "我住在{}，能上门吗", "请寄到{}", "地址：{}", "{}，放门口就行", "上门安装地址是{}，周六在家"]),
    "address ": ([en_address], ["Ship it to {}.", "my address is {}", "I live at {} now", "Please deliver to {} instead"]),
    "name": ([zh_name], ["我叫{}，想查一下物流", "收件人：{}", "姓名：{}", "联系人{}，随时可以打", "请找{}先生签收", "{}女士您好", "客户{}反映屏幕有划痕", "持卡人{}，已核实"]),
    "name ": ([en_name], ["My name is {}.", "Hello, my name is {} and I need a refund", "Customer name: {}", "This parcel is for Mr. {}.", "Ms. {} called again today"]),
}


def number(n):
    return digits(n, "123456789")


def day():
    return f"2026{R.randint(1, 12):02}{R.randint(1, 28):02}"


NEGATIVE = [
    lambda: f"订单号{day()}{digits(10)}什么时候发货", lambda: f"订单{number(18)}已签收", lambda: f"我的订单编号是{R.choice('13579')}{digits(10)}，还没发货",
    lambda: f"运单号SF{digits(13)}一直没更新", lambda: f"快递单号：{R.choice('YT')}{digits(14)}", lambda: f"tracking number 1Z{digits(6)}W{digits(9)}",
    lambda: f"Order #{number(10)} has not shipped", lambda: f"order number {number(11)} is late", lambda: f"invoice {number(12)}, total ${number(4)}.50",
    lambda: f"一共{number(5)}.{digits(2)}元，分{R.randint(2, 9)}期", lambda: f"amount: {number(7)}.00 USD", lambda: f"金额¥{number(6)}.{digits(2)}还没到账",
    lambda: f"会议改到2026年{R.randint(1, 12)}月{R.randint(1, 28)}日下午三点", lambda: f"delivery on 2026-{R.randint(1, 12):02}-{R.randint(1, 28):02} at 10:30",
    lambda: f"系统升级到V{R.randint(1, 9)}.{R.randint(0, 20)}.{R.randint(0, 20)}.{R.randint(0, 300)}之后闪退",
    lambda: f"firmware version {R.randint(1, 9)}.{R.randint(0, 99)}.{R.randint(0, 99)}.{R.randint(20, 255)}", lambda: f"版本{R.randint(1, 9)}.{R.randint(0, 9)}.{R.randint(0, 9)}修复了问题",
    lambda: f"SKU: {R.choice('ABXK')}{digits(8)}还有货吗", lambda: f"商品编号{number(12)}，颜色蓝", lambda: f"part number {R.choice('QT')}{R.choice('RS')}{digits(7)}",
    lambda: f"ISBN 978-7-{digits(3)}-{digits(5)}-{digits(1)}", lambda: f"发票号码{digits(8)}，请重开", lambda: f"工单{day()}{digits(4)}已关闭",
    lambda: f"时间戳 17{digits(11)}", lambda: f"commit {R.choice('abcdef')}{''.join(R.choice('0123456789abcdef') for _ in range(39))}",
    lambda: f"{R.randint(2, 9)}号线{R.randint(2, 30)}站，坐{R.randint(100, 900)}路公交", lambda: "这个方案方便吗，客户都说好", lambda: "用户名和密码都不对怎么办",
    lambda: "我知道道路施工，5号恢复", lambda: "The password is incorrect, please reset it", lambda: "Dear customer, your refund was sent",
    lambda: "微信支付失败了，换支付宝", lambda: f"netmask 255.255.{R.choice(['255', '254', '240'])}.0", lambda: f"电量{R.randint(10, 99)}%，续航{number(3)}公里",
    lambda: f"比例16:9，分辨率{number(4)}x{number(4)}", lambda: f"身份证号{digits(6, '123456')}19{digits(2)}13{digits(6)}不对吧".replace("不对吧", "格式错误"),
    lambda: f"会员卡号{number(10)}，积分{number(5)}", lambda: f"房间号{number(4)}，密码锁没电了", lambda: f"用时{R.randint(1, 23):02}:{R.randint(0, 59):02}:{R.randint(0, 59):02}",
    lambda: f"型号RTX{number(4)}、{R.choice('ABC')}{number(4)}S", lambda: "高中老师说周末方便", lambda: f"the meeting room seats {number(2)} people on the third street floor",
    lambda: f"I ordered {R.randint(2, 90)} boxes for {number(3)} dollars", lambda: f"reference {number(16)[:1].replace('4', '7')}{digits(15)}".replace("reference 5", "reference 7").replace("reference 6", "reference 8").replace("reference 3", "reference 1").replace("reference 2", "reference 1"),
    lambda: f"std::vector<int> v; a::b::c = {number(3)};", lambda: f"邮编{digits(6)}，楼下取件", lambda: f"0x{digits(8)} and {number(3)}-{number(3)}",
    lambda: f"快递员说下午{R.randint(1, 9)}点到", lambda: "安全起见请马上修改密码", lambda: f"保单号P{digits(9)}的受理进度",
    lambda: f"共{R.randint(2, 9)}个包裹，第{R.randint(1, 9)}个丢了", lambda: f"ticket {number(8)} (priority 2) was merged into {number(8)}", lambda: f"取件码{R.randint(1, 9)}-{R.randint(1, 9)}-{number(4)}",
]

FULL_WIDTH = {c: chr(ord(c) + 0xfee0) for c in "0123456789"}


def write(text, spans):
    print(json.dumps({"text": text, "spans": spans}, ensure_ascii=False))


for kind, (makers, sentences) in POSITIVE.items():
    for n in range(PER_KIND):
        value = makers[n % len(makers)]()
        sentence = sentences[n % len(sentences)]
        if kind == "mobile" and n % 11 == 5:
            value = "".join(FULL_WIDTH.get(c, c) for c in value)
        write(sentence.replace("{}", value), [[kind.strip(), value]])
for n in range(PER_KIND):
    value, called = permit()
    write({"港澳": ["港澳居民来往内地通行证{}", "回乡证号码：{}"], "台胞": ["台胞证{}过期了", "台胞证号：{}"], "往来港澳": ["往来港澳通行证号{}", "通行证{}能用自助通道吗"]}[called][n % 2]
          .replace("{}", value), [["permit", value]])
for n in range(PER_KIND // 2):
    value = hk_id()
    write(["香港身份证{}", "HKID: {}", "持{}办理"][n % 3].replace("{}", value), [["permit", value]])
for n in range(PER_KIND):
    value = digits(8)
    write(["军官证号：{}", "军字第{}号", "士兵证{}，可以优惠吗", "武字第{}号"][n % 4].replace("{}", value), [["military_id", value]])
for n in range(PER_KIND):  # several in one sentence
    a, b, c = zh_name(), mobile(), zh_address()
    write(f"收件人：{a}，电话{b}，地址：{c}。", [["name", a], ["mobile", b], ["address", c]])
for n in range(8 * len(NEGATIVE)):
    write(NEGATIVE[n % len(NEGATIVE)](), [])
