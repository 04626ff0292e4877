"""Texts of NorthPost, a parcel service that does not exist. See make_demo_corpus.py for how they are put together.

Slots: {parcel} {ticket} {city} {city2} {street} {day} {hour} {amount} {item} {locker} {code} {mail} {mobile} {order}.
A topic has openings (customer), answers (agent), which answers fit each opening (all, unless said), and follow-ups: pairs of a
question and its answer.
"""

TENANT = "northpost"
AGENTS = ["Maya", "Oliver", "Priya", "Tom", "Elena"]
NAMES = ["Anna", "Ben", "Carla", "Daniel", "Eva", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kate", "Liam", "Mina", "Noah",
         "Olga", "Paul", "Quinn", "Rosa", "Sam", "Tara", "Umar", "Vera", "Will", "Yara", "Zoe"]
CITIES = ["Ashford Vale", "Brinmouth", "Calder Bay", "Dunmere", "Eastwick", "Farrow Hill", "Gullport", "Harrowgate End"]
STREETS = ["Mill Lane", "Station Road", "Harbour Street", "Elm Close", "Foundry Walk", "Priory Court", "Kiln Road"]
ITEMS = ["a kettle", "two books", "a pair of boots", "a phone case", "a birthday present", "a table lamp", "some spare parts",
         "a winter coat", "a framed print", "a coffee grinder"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]

HELLO = ["Hi,", "Hello,", "Hi there,", "Good morning,", "Hey,", "Dear NorthPost team,", "", "", "Hi NorthPost,", "Afternoon,"]
SIGN = ["Thanks, {name}", "Cheers {name}", "Best, {name}", "{name}", "Thank you!", "", "", "Regards, {name}", "thx"]

GREETING = "Hello {name}, thank you for contacting NorthPost. I have opened ticket {ticket} for you."
CLOSING = "Is there anything else I can check for you? {agent}, NorthPost Care"
CLOSING_LATER = "I am happy to help. {agent}, NorthPost Care"
FAREWELL = ["Thank you, {name}. Ticket {ticket} is now closed. Have a good day! {agent}, NorthPost Care",
            "You are welcome, {name}. I have closed ticket {ticket}. Have a good day! {agent}, NorthPost Care"]
GOODBYES = ["No that's all, thanks.", "That's everything, thank you {agent}.", "Nope, all good. Thanks for the quick answer!",
            "ok great, thanks", "Perfect, bye.", "No, that was it. Appreciate it.", "all clear now, cheers",
            "Thanks, I'll wait and see.", "Good to know. Bye!", "No thank you, you've been very helpful."]

TOPICS = {
    "late_parcel": {
        "openings": ["my parcel {parcel} was due on {day} and there is still no sign of it. Can you tell me where it is?",
                     "I ordered {item} and the tracking for {parcel} hasn't moved since {day}. What's going on?",
                     "tracking {parcel} says 'on its way' for four days now. It only has to come from {city}.",
                     "Where is {parcel}? It was promised for {day} before {hour}.",
                     "I stayed at home all {day} for {parcel} and nobody came. Is it lost or just late?"],
        "answers": ["I can see parcel {parcel} in our {city} depot. It missed the van on {day} and will be delivered on the next working day before {hour}.",
                    "Parcel {parcel} is delayed in {city} because of a full van. It is loaded for tomorrow, and you will get a text one hour before the delivery.",
                    "The last scan of parcel {parcel} was in {city} on {day}. I have asked the depot to check the shelf and to call you back within 24 hours."],
        "followups": [("Can you make sure it comes before {hour}? I have to leave for work.",
                       "I have added a note for the driver to come before {hour}. I cannot promise the time, but the driver will see the note."),
                      ("And if it doesn't come tomorrow?",
                       "If parcel {parcel} does not arrive by then, please reply to this ticket and we will start a search. A search takes three working days."),
                      ("Do I get the express fee back?",
                       "Yes. The express fee of {amount} will be refunded to the card you paid with within five working days.")]},
    "missed_delivery": {
        "openings": ["I found a card saying you tried to deliver {parcel} but I was in the whole day! The bell works fine.",
                     "missed your driver by two minutes, parcel {parcel}. Can you bring it again on {day}?",
                     "The app says 'nobody at home' for {parcel}. I work from home, so that is simply not true.",
                     "How do I rebook a delivery? Number is {parcel}, I'm only home on {day}."],
        "answers": ["I am sorry that we missed you. I have booked a new delivery of parcel {parcel} for {day} between 9:00 and {hour}.",
                    "I am sorry about the card. Parcel {parcel} is back at the {city} depot, and I have booked it again for {day}.",
                    "Parcel {parcel} is waiting at the {city} depot for seven days. I have booked a second delivery for {day} at no cost."],
        "followups": [("Can the driver leave it with my neighbour at number 12?",
                       "Yes, I have added your neighbour at number 12 as a safe place for parcel {parcel}."),
                      ("Could I pick it up myself instead?",
                       "Yes. You can collect parcel {parcel} at locker {locker} with the code {code}. Please bring the card or this message."),
                      ("please tell the driver to ring twice, the bell is quiet",
                       "I have added the note 'ring twice' to parcel {parcel}. The driver will see it.")]},
    "address_change": {
        "openings": ["I moved last week and {parcel} is going to my old flat. New address: 14 {street}, {city}.",
                     "Can I still change the address of {parcel}? It should go to 27 {street} in {city2}.",
                     "I typed the wrong house number. {parcel} needs to go to 8 {street}, {city}, not 3.",
                     "please redirect parcel {parcel} to my office, 51 {street}, {city}."],
        "answers": ["I have changed the address of parcel {parcel}. The change costs nothing because the parcel has not left the depot.",
                    "Parcel {parcel} is already in the van today, so I have set the new address for tomorrow. You will get a new tracking message.",
                    "The new address for parcel {parcel} is saved. Delivery moves to {day}."],
        "followups": [("Will I get a confirmation? My e-mail is {mail}.",
                       "Yes, the confirmation goes to {mail} within ten minutes."),
                      ("Does this change my account too?",
                       "No, this changes parcel {parcel} only. You can set a new home address under Account, Addresses."),
                      ("My new mobile is {mobile}, can you add that for the driver?",
                       "I have saved {mobile} for the driver of parcel {parcel}. We delete it after the delivery.")]},
    "damaged": {
        "openings": ["{parcel} arrived with the box crushed and {item} inside is broken. What now?",
                     "Your driver threw my parcel over the fence. {item} in pieces. Number {parcel}.",
                     "the parcel {parcel} was wet through when I got it, everything inside is ruined",
                     "I'd like to report damage, parcel {parcel}, delivered on {day}. I have photos."],
        "answers": ["I am sorry that parcel {parcel} was damaged. Please send three photos (box, label, content) as a reply, and keep the box for seven days.",
                    "I am sorry to read this. I have opened a damage claim for parcel {parcel}. We cover up to {amount} without extra insurance.",
                    "I am sorry about the damage. A claim for parcel {parcel} is open now. We need a photo of the label and the receipt of the item."],
        "followups": [("Here are the photos. How long does it take?",
                       "Thank you for the photos. A damage claim takes five working days. We pay to the account that you name."),
                      ("Where do I send the receipt?",
                       "Please send the receipt to claims@northpost.example and write ticket {ticket} in the subject."),
                      ("I don't have the box any more.",
                       "That is fine. The photos and the receipt of the item are enough for this claim.")]},
    "customs": {
        "openings": ["parcel {parcel} from Shenzhen is stuck in customs since {day}. What do you need from me?",
                     "I got a message about import fees of {amount} for {parcel}. Is that real or a scam?",
                     "Tracking says 'held by customs' for {parcel}, do I have to do something?",
                     "Why do I pay {amount} for a gift? Parcel {parcel}."],
        "fits": ["02", "1", "02", "1"],
        "answers": ["Parcel {parcel} waits for an invoice. Please upload it under Tracking, Customs. The release takes two working days after that.",
                    "The fee of {amount} for parcel {parcel} is real: it is import tax plus our handling fee. You can pay it in the app only, never by a link in a text.",
                    "Customs asks for the value and the content of parcel {parcel}. Please reply with a screenshot of the order."],
        "followups": [("They also ask for the ID of the sender, it's {idcard}. Is that enough?",
                       "Thank you, that is enough. We pass it on to customs and do not keep it."),
                      ("The invoice is uploaded. Can you check?",
                       "I can see the invoice for parcel {parcel}. It is complete and I have sent it to customs."),
                      ("What if I refuse to pay?",
                       "Then parcel {parcel} goes back to the sender after 14 days. There is no cost for you.")]},
    "locker": {
        "openings": ["the locker {locker} doesn't open with the code {code}. Parcel {parcel}.",
                     "I never got a pickup code for {parcel}, which should be in locker {locker}.",
                     "Locker {locker} shows an error 17 and my parcel {parcel} is inside!",
                     "How long does {parcel} stay in the locker? I'm away until {day}."],
        "fits": ["01", "0", "1", "2"],
        "answers": ["I am sorry about the locker. Here is a new code for locker {locker}: {code}. It works for the next 48 hours.",
                    "I have restarted locker {locker}. Please wait two minutes and use the code {code} again.",
                    "Parcel {parcel} stays in locker {locker} for three days. I have added four more days for you."],
        "followups": [("Can my wife collect it?", "Yes, anyone with the code can collect parcel {parcel}. Please send her the code yourself."),
                      ("The door is open now but the parcel is not inside.",
                       "I am sorry. I have reported this to the {city} depot. They check the camera and answer within 24 hours."),
                      ("Can you send the code to {mail}? My phone is broken.", "I have sent the code to {mail}.")]},
    "refund": {
        "openings": ["you owe me a refund of {amount} for {parcel} since three weeks.",
                     "When will I get my {amount} back? Ticket was closed but no money came.",
                     "I cancelled the pickup for {parcel} and was still charged {amount}.",
                     "Charged twice!! {amount} for the same label, {parcel}."],
        "fits": ["01", "01", "1", "2"],
        "answers": ["I have checked the payment. The refund of {amount} was sent on {day} and takes up to five working days to reach your card.",
                    "I am sorry for the wait. I have sent the refund of {amount} for parcel {parcel} again today.",
                    "You are right, parcel {parcel} was charged twice. I have sent {amount} back to your card."],
        "followups": [("Can you send me a receipt to {mail}?", "The receipt is on its way to {mail}."),
                      ("which card is that? I have a new one", "It is the card that you paid with. If it is closed, your bank passes the money on."),
                      ("ok, five days from today or from {day}?", "Five working days from today.")]},
    "return_label": {
        "openings": ["I need a return label for {item}. Order {order}.",
                     "The printer ate my return label, can you send the one for {order} again?",
                     "how do i send something back without a printer? order {order}",
                     "The shop says NorthPost sends the return label but I got nothing. {order}"],
        "fits": ["02", "0", "1", "02"],
        "answers": ["I have made a new return label for order {order}. You find it in the app under Returns. It is valid for 14 days.",
                    "You do not need a printer. Show the QR code for order {order} at any NorthPost counter and we print the label there.",
                    "The return label for order {order} was not created by the shop. I have created it now, and it is free for you."],
        "followups": [("Can you e-mail it to {mail} please?", "I have sent the label to {mail}."),
                      ("Where is the next counter in {city}?", "The next counter is at 5 {street} in {city}, open until {hour}."),
                      ("Can the driver pick it up?", "Yes, a pickup costs {amount}. I have booked it for {day} between 9:00 and {hour}.")]},
    "signature": {
        "openings": ["it says {parcel} was signed by 'R. Miller' on {day}. Nobody here has that name!",
                     "Delivered?? I have nothing. {parcel}, allegedly signed by me at {hour}.",
                     "My parcel {parcel} shows delivered on {day} but it is not in the porch and not with neighbours."],
        "answers": ["I am sorry. I have asked the driver for the place and the photo of parcel {parcel}. You will hear from us within 24 hours.",
                    "The position of the scan for parcel {parcel} is {street}, about 200 metres from your address. The driver goes back there today.",
                    "I have started a search for parcel {parcel}. A search takes three working days."],
        "followups": [("It contained {item}, worth {amount}. Who pays?",
                       "If parcel {parcel} is not found within three working days, we pay {amount} to you."),
                      ("Neighbour just brought it, sorry for the fuss!", "Thank you for telling me. I have stopped the search for parcel {parcel}."),
                      ("please call me on {mobile} when you know more", "We will call {mobile} as soon as the driver has answered.")]},
    "account": {
        "openings": ["I can't log in, the reset mail never arrives. My address is {mail}.",
                     "Please delete my account, login {mail}.",
                     "Can I change my phone number in the app? New one is {mobile}.",
                     "I want to stop the newsletter to {mail}, the link does nothing."],
        "fits": ["0", "1", "12", "1"],
        "answers": ["I have checked the account {mail} and sent a new message. Please look in the spam folder too.",
                    "I have noted this for the account {mail}. The change is done within 24 hours.",
                    "I have updated your account. Please log out and in again to see it."],
        "followups": [("Got it now, that worked.", "Good to hear that it works."),
                      ("Nothing in spam either.", "I have sent it again from another server. Please wait ten minutes."),
                      ("Do you keep my old parcels?", "We keep the data of a parcel for 90 days and delete it then.")]},
    "business": {
        "openings": ["we send about 40 parcels a week from {city}. Is there a daily pickup?",
                     "I need invoices for September for our company, order {order}, please to {mail}.",
                     "What does a 12 kg parcel to {city2} cost on a business contract?",
                     "Our pickup at 9 {street}, {city} did not happen on {day}. 23 boxes are waiting."],
        "fits": ["0", "1", "3", "2"],
        "answers": ["A daily pickup is free from 25 parcels a week. I have asked our business team in {city} to call you.",
                    "I have sent the invoices. You can also find them under Business, Invoices in the portal.",
                    "I am sorry about the missed pickup. A van comes today before {hour}.",
                    "A parcel of 12 kg costs {amount} on a business contract, with tracking and cover up to 500 euros."],
        "followups": [("Great, can we start on {day}?", "Yes, the first pickup is on {day} at {hour}."),
                      ("Could you copy {mail} on that?", "I have added {mail} to the ticket."),
                      ("And is Saturday possible?", "Saturday pickups cost {amount} each. You can book them in the portal.")]},
}

# Customers who write Chinese to NorthPost; the house style stays.
ZH_GREETING = "{name}您好，感谢联系 NorthPost。您的工单号是 {ticket}。"
ZH_CLOSING = "请问还有其他需要吗？{agent}，NorthPost 客服"
ZH_FAREWELL = ["不客气，工单 {ticket} 已关闭，祝您愉快！{agent}，NorthPost 客服"]
ZH_NAMES = ["陈女士", "林先生", "周女士", "何先生", "许女士"]
ZH_GOODBYES = ["没有了，谢谢", "好的，谢谢你", "没了，辛苦啦"]
ZH_TOPICS = {
    "late_parcel": {
        "openings": ["你好，包裹 {parcel} 好几天没动了，到哪了？", "请问 {parcel} 什么时候能到？本来说{zhday}送的", "我的快递 {parcel} 一直没收到"],
        "answers": ["包裹 {parcel} 还在分拨中心，预计明天送达，派送前会给您发短信。", "包裹 {parcel} 因为车辆已满延误，明天优先派送。"],
        "followups": [("能放门口吗？", "可以，已经给快递员备注放门口。"), ("到了打我电话 {mobile}", "已备注电话 {mobile}，送达前联系您。")]},
    "customs": {
        "openings": ["{parcel} 卡在海关了，需要我提供什么？", "海关要交 {amount}，包裹 {parcel}，是真的吗"],
        "fits": ["0", "1"],
        "answers": ["海关需要包裹 {parcel} 的发票，请在应用里上传，两个工作日内放行。", "这笔费用是真的，请只在应用里支付，不要点短信链接。"],
        "followups": [("身份证号是 {idcard}，够了吗", "够了，资料只交给海关，我们不保存。"), ("发票发到哪个邮箱？我的是 {mail}", "请直接上传，确认信会发到 {mail}。")]},
}
