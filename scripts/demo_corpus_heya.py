"""Texts of 禾芽小铺 (Heya), an online shop that does not exist. See make_demo_corpus.py for how they are put together.

Slots: {order} {ticket} {item} {size} {amount} {zhday} {mail} {mobile} {idcard} {coupon}.
"""

TENANT = "heya"
AGENTS = ["小穗", "小满", "阿禾", "小麦"]
NAMES = [""]
ITEMS = ["保温杯", "羊毛围巾", "电饭煲", "儿童雨衣", "蓝牙耳机", "棉拖鞋", "茶具", "台灯", "行李箱", "洗衣液", "四件套", "空气炸锅"]
SIZES = ["S码", "M码", "L码", "XL码", "小号", "大号"]

HELLO = ["你好，", "您好，", "在吗？", "", "", "亲，", "客服在吗，", "hi，", "麻烦问下，"]
SIGN = ["", "", "", "谢谢", "急！", "在线等", "谢啦"]

GREETING = "亲，您好！我是禾芽小铺客服{agent}，工单号{ticket}。"
CLOSING = "还有什么可以帮您的吗？"
CLOSING_LATER = "感谢您的理解！"
FAREWELL = ["不客气，祝您生活愉快，欢迎再来禾芽小铺！", "感谢您的支持，祝您生活愉快，欢迎再来禾芽小铺！"]
GOODBYES = ["没有了，谢谢", "好的谢谢", "知道了，谢谢亲", "嗯嗯没了", "ok，等你们消息", "行吧", "好，辛苦了", "没问题了，态度不错"]

TOPICS = {
    "shipping": {
        "openings": ["订单{order}怎么还没发货？都三天了", "我买的{item}什么时候发货啊，订单{order}", "{order}说好{zhday}发货的，现在还没动静",
                     "{item}能今天发吗？订单号{order}", "催一下发货，{order}，{item}等着用"],
        "answers": ["订单{order}已经配货，今天发出，请您放心。", "{item}正在补货，预计{zhday}发出，给您添麻烦了。", "已为订单{order}加急，24小时内发货。"],
        "followups": [("发什么快递？", "默认发北邮快递，发货后会有短信通知。"), ("到了能打我电话吗{mobile}", "好的，已备注电话{mobile}。"),
                      ("再不发我就退款了", "非常理解您的心情，已经催促仓库优先处理。")]},
    "logistics": {
        "openings": ["{order}物流三天没更新了", "快递显示已签收，但是我没收到{item}，订单{order}", "我的包裹{order}到哪里了？", "{item}的物流一直停在中转站，什么情况"],
        "fits": ["01", "02", "1", "01"],
        "answers": ["已经联系快递核实订单{order}，24小时内给您答复。", "物流显示包裹在中转，预计{zhday}送达。", "可能放在驿站或门卫，请您先看一下，没有的话马上为您补发。"],
        "followups": [("门卫也没有啊", "好的，已为您登记丢件，{zhday}前补发。"), ("找到了，在驿站，不好意思", "找到就好，不用客气。"),
                      ("补发要多久", "补发当天出库，一般三天到。")]},
    "refund": {
        "openings": ["退款{amount}什么时候到账？订单{order}", "我退的{item}你们收到了吗，怎么还不退款", "{order}申请退款两天了没人处理", "退款退到哪里了？没看到钱"],
        "fits": ["02", "1", "01", "2"],
        "answers": ["订单{order}的退款{amount}已经提交，1到3个工作日原路退回。", "仓库已收到退货，退款{amount}今天处理。", "退款会原路退回您的付款账户，请留意{zhday}的到账通知。"],
        "followups": [("原路是指微信吗", "是的，用什么付款就退到哪里。"), ("运费也退吗", "质量问题运费由我们承担，一起退给您。"), ("好，我等到{zhday}", "好的，没到账随时找我们。")]},
    "exchange": {
        "openings": ["{item}买大了，能换{size}吗？订单{order}", "收到的颜色不对，我要的是白色，{order}", "想换货，{item}换{size}", "{order}发错货了！我买的是{item}"],
        "fits": ["02", "12", "02", "1"],
        "answers": ["可以换货，请在订单{order}里申请换货，选{size}。", "非常抱歉发错了，运费我们承担，请寄回后为您换{size}。", "已为您登记换货，寄回地址稍后短信发给您。"],
        "followups": [("运费谁出？", "这次运费由我们承担。"), ("地址发到我邮箱吧{mail}", "好的，寄回地址已发到{mail}。"), ("吊牌剪了还能换吗", "吊牌剪了暂时不能换，请您谅解。")]},
    "quality": {
        "openings": ["{item}用了一次就坏了，什么质量啊", "收到的{item}有破损，订单{order}，怎么处理", "{item}有异味，正常吗？", "{order}少发了一件，差评"],
        "fits": ["01", "01", "2", "01"],
        "answers": ["非常抱歉给您带来不便，请发照片，核实后马上处理。", "非常抱歉，可以为您退款{amount}或补发，您看哪种方便？", "新品可能有轻微味道，通风两天即可，不放心可以退货。"],
        "followups": [("照片发了，要求退款", "照片收到，退款{amount}已经提交。"), ("那就补发吧", "好的，已登记补发，{zhday}前发出。"), ("快递员说要身份证才能理赔{idcard}", "收到，仅用于理赔，处理后删除。")]},
    "invoice": {
        "openings": ["可以开发票吗？订单{order}", "发票发我邮箱{mail}，谢谢", "发票抬头写错了，能重开吗，{order}"],
        "fits": ["02", "0", "12"],
        "answers": ["可以的，电子发票将在24小时内发送。", "发票已经重开，请查收。", "订单{order}的电子发票已登记，抬头请确认是否正确。"],
        "followups": [("邮箱是{mail}", "好的，发票会发到{mail}。"), ("能开专票吗", "目前只支持电子普通发票，请您谅解。")]},
    "coupon": {
        "openings": ["优惠券{coupon}用不了，显示已过期", "新人券在哪里领？", "满减没有生效，{order}多付了{amount}", "双十一{item}会便宜吗"],
        "fits": ["0", "1", "2", "1"],
        "answers": ["优惠券{coupon}已为您重新发放，三天内有效。", "请在首页点领券中心，新人券立减{amount}。", "已核实订单{order}，差价{amount}今天退给您。"],
        "followups": [("可以和满减一起用吗", "可以叠加，下单时会自动计算。"), ("领到了", "好的，祝您购物愉快。")]},
    "account": {
        "openings": ["手机号换了，能改绑吗，新号{mobile}", "账号登不上了，邮箱{mail}", "实名认证失败，身份证{idcard}，帮我看看", "怎么注销账号"],
        "fits": ["01", "2", "0", "0"],
        "answers": ["已收到您的申请，核实后24小时内处理。", "请在我的设置里修改，修改后重新登录即可。", "已为您重置，请稍后再试一次。"],
        "followups": [("可以了", "好的，感谢您的反馈。"), ("还是不行", "已转给技术处理，{zhday}前答复您。")]},
    "product": {
        "openings": ["{item}有{size}吗？", "{item}是正品吗，保修多久", "这款{item}和去年的有什么区别", "{item}送人可以包装吗"],
        "fits": ["0", "1", "3", "2"],
        "answers": ["{item}目前{size}有货，现在下单{zhday}发出。", "正品保证，{item}保修一年。", "可以免费包装，下单时备注即可。", "今年的{item}做工更好，颜色也更多。"],
        "followups": [("好的我下单了", "收到，会尽快为您安排。"), ("能便宜点吗", "现在满减后最划算，另外送您券{coupon}。")]},
}

# Customers who write English to Heya.
EN_GREETING = "Dear customer, this is {agent} of Heya Shop. Your ticket is {ticket}."
EN_CLOSING = "Is there anything else we can do for you?"
EN_FAREWELL = ["Thank you for your support. Welcome back to Heya Shop!"]
EN_AGENTS = ["Xiaosui", "Xiaoman", "Ahe", "Xiaomai"]
EN_GOODBYES = ["no thats all, thank you", "Thanks!", "ok thank u"]
EN_ITEMS = ["thermos", "wool scarf", "rice cooker", "table lamp", "suitcase", "tea set"]
EN_TOPICS = {
    "shipping": {
        "openings": ["hi, when will order {order} ship? I bought the {item}", "Do you ship the {item} abroad?", "order {order} not shipped yet, why?"],
        "fits": ["01", "2", "01"],
        "answers": ["Order {order} ships today and you will get a message.", "We have asked the warehouse to send order {order} first.",
                    "We are sorry, we ship inside the country only for now."],
        "followups": [("my phone is {mobile} if the courier needs it", "We have noted {mobile} for the courier."), ("how long does it take", "It takes three to five days.")]},
    "refund": {
        "openings": ["I returned the {item}, order {order}, where is my money?", "refund {amount} please, the {item} is broken"],
        "fits": ["0", "1"],
        "answers": ["The refund of {amount} is on its way and takes one to three working days.", "We are very sorry. Please send a photo and we refund {amount}."],
        "followups": [("Photo sent to your chat. My mail is {mail}", "Thank you, the confirmation goes to {mail}."), ("Ok waiting", "Thank you for your patience.")]},
}
