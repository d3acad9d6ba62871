"""What is wrong in the transcripts of Debian's asterisk-core-sounds 1.6.1, found by reading all five files.

`WORDS` restores spelling that changes how a word is said (the Spanish file has hardly an accent or ñ), whole words
only; `PHRASES` does so where the word alone does not decide (the Italian file has `?` for some accented letters).
`RENAMED` gives lines the file they belong to. `DOUBTFUL` names lines whose text is not what a speaker would say there.
"""

import re

NOT_SPEECH = {
    *("beep", "beeperr", "ascending-2tone", "descending-2tone", "confbridge-join", "confbridge-leave", "tt-monkeys"),
    *(f"silence/{seconds}" for seconds in range(1, 11)),
}

ENGLISH = "exclaimation→exclamation represenatives→representatives umute→unmute witheld→withheld indentified→identified"
SPANISH = """
    aun→aún autenticacion→autenticación atras→atrás ayudaran→ayudarán busqueda→búsqueda buzon→buzón codigo→código
    comenzara→comenzará comprendi→comprendí conexion→conexión configuracion→configuración contrasena→contraseña
    contrasenas→contraseñas contrasenia→contraseña cortes→cortés decimo→décimo defeto→defecto demonstracion→demostración
    demostracion→demostración despues→después dieciseis→dieciséis digitos→dígitos dolar→dólar dolares→dólares
    duodecimo→duodécimo duracion→duración entidade→entidades escucharas→escucharás estan→están estandar→estándar
    esten→estén exclamacion→exclamación extension→extensión fisico→físico grabacion→grabación guiare→guiaré
    informacion→información ingese→ingrese ingresara→ingresará intentare→intentaré introduccion→introducción
    introdusca→introduzca invalida→inválida invalido→inválido japon→japón lider→líder linea→línea logre→logré
    manana→mañana maria→maría mas→más menu→menú mesaje→mensaje miercoles→miércoles millon→millón minimos→mínimos
    navegara→navegará nimbre→nombre numbre→nombre numerico→numérico numero→número opcion→opción oscar→óscar
    proposito→propósito proximo→próximo rapidamente→rápidamente reproduccion→reproducción sabado→sábado septimo→séptimo
    sera→será tambien→también tecleo→tecleó tecnica→técnica telefonico→telefónico telefono→teléfono tendra→tendrá
    trigesimo→trigésimo trés→tres ultimo→último undecimo→undécimo unica→única unira→unirá uniran→unirán util→útil
    vacias→vacías valido→válido veintidos→veintidós veintiseis→veintiséis veintitres→veintitrés victor→víctor
    vigesimo→vigésimo zulu→zulú ó→o
"""
FRENCH = """
    abregée→abrégée acceuil→accueil appellant→appelant conctact→contacte desirez→désirez desole→désolé desolé→désolé
    dévérouiller→déverrouiller déverouillée→déverrouillée dévérouillée→déverrouillée démontration→démonstration
    ecouter→écouter enleve→enlevé etait→était ete→été etes→êtes etre→être étez→été felicitation→félicitations
    millardième→milliardième numero→numéro occupes→occupés premieres→premières presentement→présentement
    problemes→problèmes présentemnet→présentement rappler→rappelé reessayer→réessayer répétér→répéter
    seixième→seizième simultane→simultanée telephone→téléphone telephoner→téléphoner
    verouillée→verrouillée vérouillée→verrouillée vérouiller→verrouiller vérrouiller→verrouiller
"""
RUSSIAN = """
    взёздочка→звёздочка демонтрационным→демонстрационным завршить→завершить октрября→октября увеличиения→увеличения
    первoe→первое
"""  # the last one is spelt with two Latin letters

WORDS = {
    lang: dict(pair.split("→") for pair in pairs.split())
    for lang, pairs in {"en": ENGLISH, "es": SPANISH, "fr": FRENCH, "ru": RUSSIAN}.items()
}

# (pattern, replacement), searched without regard to case
PHRASES = {
    "es": (
        (
            r"\besta(?= (?:en|usted|ocupad[ao]|configurado|fuera|terriblemente|disponible|libre|a punto|usando)\b)",
            "está",
        ),
        (r"\b(en|a) que (?=carpeta)", r"\1 qué "),
        (r"\bno se quien\b", "no sé quién"),
        (r"\bparacambiar\b", "para cambiar"),
        (r"\batravez\b", "a través"),
        (r"\ban adelante\b", "en adelante"),
    ),
    "fr": (
        (r"\ba(?= (?:partir|votre|nouveau|l'avenir|l'extension|joindre)\b)", "à"),
        (r"\bmise a jour\b", "mise à jour"),
        (r"\bautorise\b", "autorisé"),
        (r"\bce tte\b", "cette"),
        (r"\bpous (?=accepter)", "pour "),
        (r"\baurevoir\b", "au revoir"),
        (r"\bvous et et la\b", "vous et la"),
        (r"\bvotre votre\b", "votre"),
    ),
    "it": (
        (r"\bsar\?", "sarà"),
        (r"\bpi\?", "più"),
        (r"\bpu\?", "può"),
        (r"\bcos\?", "così"),
        (r" \? ", " è "),
        (r"\be'(?= )", "è"),
        (r"\bperpiacere\b", "per piacere"),
    ),
    "ru": ((r"\bчтобы бы\b", "чтобы"),),
}

RENAMED = {
    ("es", "digits/0", "diez"): "digits/10",
    ("es", "confbridge-lock-out-0", "...para bloquear o desbloquear la conferencia."): "confbridge-lock-out",
    ("fr", "confbridge-lock-out-0", "... pour vérouiller ou déverrouiller la conférence."): "confbridge-lock-out",
}

DOUBTFUL = {
    ("es", "conf-usermenu"): "says 'mudo mudo'",
    ("es", "digits/hundred"): "'cient' is not a word: cien or ciento",
    ("es", "vm-mismatch"): "3.1 s of sound: the second sentence cannot be in it",
    ("fr", "vm-mismatch"): "2.9 s of sound: the second sentence cannot be in it",
    ("fr", "digits/h-80"): "is eightieth, the text is seventieth",
    ("fr", "dir-multi3"): "Spanish in the French file",
    ("fr", "spy-iax2"): "'eeks'",
    ("it", "is"): "English in the Italian file",
}


def mend(lang: str, text: str) -> str:
    """`text` with this language's known misspellings restored; capitals stay capitals."""
    words = WORDS.get(lang, {})

    def cased(right: str, found: re.Match[str]) -> str:
        return right[0].upper() + right[1:] if found[0][0].isupper() else right

    text = re.sub(r"[^\W\d_]+", lambda found: cased(words.get(found[0].lower(), found[0]), found), text)
    for pattern, right in PHRASES.get(lang, ()):
        text = re.sub(pattern, lambda found, right=right: cased(found.expand(right), found), text, flags=re.IGNORECASE)
    return text
