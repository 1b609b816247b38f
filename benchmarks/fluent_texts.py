"""Paragraphs that espeak-ng reads aloud in `fluent_speech.py`, by language.

Where the writing does not tell espeak-ng how to read a word, the word is written as READ|WRITTEN.
"""

from __future__ import annotations

TEXTS = {
    "en": """
        The old ferry left the harbour at seven in the morning, and only a handful of passengers were standing on the
        deck. A fisherman told us that the wind had been strong all night and that nobody had slept very much. We drank
        our coffee slowly and watched the coast become smaller and smaller until it was a thin grey line. After two
        hours the captain announced that we would reach the island before noon. The children ran to the front of the
        ship because they hoped to see dolphins. In the end we saw three of them, and they followed us as far as the
        lighthouse. My sister took a hundred pictures, but most of them show nothing but water.
    """,
    "de": """
        Am Montagmorgen fuhr der erste Zug mit großer Verspätung ab, weil in der Nacht ein Baum auf die Gleise gefallen
        war. Viele Reisende warteten auf dem Bahnsteig und sprachen über das Wetter. Eine ältere Dame erzählte, dass sie
        ihre Enkel in Hamburg besuchen wollte und dass sie sich seit Wochen darauf freute. Der Schaffner verteilte
        heißen Tee und entschuldigte sich bei allen. Gegen zehn Uhr kam endlich die Nachricht, dass die Strecke wieder
        frei ist. Im Wagen war es warm, und die meisten schliefen nach wenigen Minuten ein. Als wir am Nachmittag
        ankamen, schien die Sonne, und niemand dachte mehr an den Sturm.
    """,
    "fr": """
        Le marché de notre village commence tous les samedis à huit heures, devant la petite église. Les paysans
        apportent des légumes, du fromage et des fleurs, et tout le monde parle en même temps. Ma grand-mère achète
        toujours le même pain chez le même boulanger depuis quarante ans. Elle dit que la farine vient du moulin et que
        le goût n'a jamais changé. Hier, un jeune homme jouait de la guitare à côté de la fontaine pendant que les
        enfants dansaient. Il faisait très chaud et nous avons mangé une glace sous les arbres. À midi les vendeurs ont
        rangé leurs tables et la place est devenue silencieuse.
    """,
    "es": """
        Mi abuelo construyó su casa en la montaña hace más de cincuenta años, cuando todavía no había carretera. Cada
        piedra llegó hasta allí con la ayuda de un burro muy paciente. En verano toda la familia se reúne en el jardín y
        cenamos debajo de las estrellas. Los niños buscan luciérnagas y los mayores cuentan las mismas historias de
        siempre. Este año vino también una vecina que toca el violín en la orquesta de la ciudad. Tocó varias canciones
        antiguas y algunos empezaron a cantar. Cuando terminó la música, nadie quería volver a casa, y nos quedamos
        hablando hasta la madrugada.
    """,
    "it": """
        Ogni mattina Marco apre la sua libreria vicino alla stazione e prepara un caffè per i primi clienti. Alcuni
        vengono soltanto per leggere il giornale, altri cercano un libro che non si trova più da nessuna parte. La
        settimana scorsa è arrivata una studentessa che voleva una vecchia mappa della città. Marco ha cercato per due
        ore nella cantina, e alla fine ha trovato la mappa dentro un libro di cucina. La ragazza era così contenta che
        gli ha portato una torta il giorno dopo. Adesso la mappa è appesa nella sua camera e tutti gli amici la
        guardano con curiosità.
    """,
    "pl": """
        W zeszłym tygodniu pojechaliśmy rowerami do małego miasteczka nad rzeką. Droga prowadziła przez las i pola, a
        pogoda była piękna od samego rana. Po drodze spotkaliśmy starszego pana, który sprzedawał miód i jabłka ze
        swojego ogrodu. Opowiedział nam, że kiedyś pracował na kolei i znał każdą stację w okolicy. Zjedliśmy obiad
        pod wielkim dębem i długo rozmawialiśmy o wakacjach. Wieczorem zaczął padać deszcz, więc wróciliśmy do domu
        pociągiem. Mimo wszystko był to jeden z najlepszych dni tego lata.
    """,
    "zh": """
        我的爷爷住在一个很小的村子里，他每天早上五点起床。他先去河边散步，然后回家给全家人做早饭。去年夏天我们坐火车去看他，
        路上一共走了八个小时。村子里的空气很好，晚上可以看见很多星星。爷爷告诉我们，他年轻的时候在学校当老师，认识这里所有的人。
        邻居们听说我们来了，都带着水果和蔬菜来看我们。离开的那天下着大雨，爷爷一直站在门口看着我们。我们决定明年春天再去看他。
    """,
    "ja": """
        きょねん|去年 の なつ|夏、 わたし|私 わ|は かぞく|家族 と いっしょ|一緒 に うみ|海 の ちかく|近く の
        ちいさな|小さな まち|町 え|へ いきました|行きました。 あさ|朝 わ|は はやく|早く おきて|起きて、 ちち|父 と
        みなと|港 まで あるきました|歩きました。 いちば|市場 に わ|は あたらしい|新しい さかな|魚 が たくさん
        ならんで|並んで いました。 はは|母 わ|は ホテル の にわ|庭 で ほん|本 お|を よんで|読んで、 いもうと|妹
        わ|は アイスクリーム お|を たべて|食べて いました。 ごご|午後 から きゅう|急 に あめ|雨 が ふって|降って
        きた ので、 みんな で レストラン に はいりました|入りました。 みせ|店 の ひと|人 わ|は とても しんせつ|親切
        で、 むかし|昔 の はなし|話 お|を おしえて|教えて くれました。 らいねん|来年 も また おなじ|同じ ばしょ|場所
        に いこう|行こう と おもいます|思います。
    """,
}
