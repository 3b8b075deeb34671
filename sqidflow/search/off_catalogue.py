"""Questions and wishes that a shop's catalogue mostly has no answer to, by domain.

An index is calibrated with all domains, and checked with the ones that were kept back.
"""

from __future__ import annotations

OFF_CATALOGUE: dict[str, tuple[str, ...]] = {
    "weather": (
        "weather tomorrow in london", "will it rain this weekend", "humidity forecast chicago",
        "hurricane season update", "what causes thunder", "snowfall totals denver", "pollen count today",
        "sunrise time in sydney", "average temperature in march", "tornado warning map", "how do clouds form",
        "is el nino coming back", "wind speed at the coast", "climate of patagonia", "uv index now",
        "when does winter start", "earthquake magnitude scale", "volcano eruption iceland", "tide times cornwall",
        "drought in california 2021",
    ),
    "finance": (
        "mortgage interest rates", "stock price forecast", "exchange rate dollar euro", "how to file a tax return",
        "inflation last month", "open a savings account", "credit score meaning", "compound interest formula",
        "pension age by country", "who is the chair of the federal reserve", "income tax brackets",
        "bankruptcy law explained", "student loan forgiveness", "dividend yield of utilities", "car insurance quotes",
        "bitcoin price history", "what is a hedge fund", "minimum wage in ohio", "how to pay off debt",
        "wire transfer fees",
    ),
    "law": (
        "lawyer near me", "divorce procedure ireland", "visa application thailand", "parliament debate transcript",
        "how to write a will", "statute of limitations fraud", "tenant rights eviction", "what is habeas corpus",
        "supreme court ruling abortion", "copyright duration", "jury duty excuse", "green card requirements",
        "power of attorney rules", "small claims court limit", "speeding fine appeal",
        "how do i change my name legally", "trademark registration cost", "custody hearing date",
        "extradition treaty", "constitution first amendment text",
    ),
    "health": (
        "symptoms of influenza", "dentist appointment thursday", "pregnancy week calculator",
        "how long does a cold last", "side effects of ibuprofen", "normal blood pressure range", "what is anemia",
        "is measles contagious", "nearest emergency room", "causes of migraine", "how to lower cholesterol",
        "vaccination schedule infants", "therapist accepting patients", "difference between virus and bacteria",
        "stages of sleep", "what does a kidney do", "heart rate while running", "treatment of pneumonia",
        "body mass index formula", "can you donate blood",
    ),
    "travel": (
        "flight delays at heathrow", "train timetable berlin munich", "cheap hotels in lisbon",
        "ferry schedule corsica", "things to do in prague", "how far is boston from new york",
        "airport parking rates", "best time to visit japan", "passport renewal", "bus from madrid to seville",
        "visa free countries", "tourist tax venice", "eurostar tickets", "where is machu picchu", "tipping in canada",
        "driving directions to the museum", "cruise ports caribbean", "jet lag how long",
        "border crossing wait times", "rent an apartment in rome for a week",
    ),
    "programming": (
        "python list comprehension syntax", "how to center a div", "git undo last commit", "sql inner join example",
        "what is a null pointer exception", "regular expression for email", "javascript async await",
        "merge sort complexity", "difference between tcp and udp", "kubernetes restart pod", "install numpy error",
        "linux chmod permissions", "what is recursion", "java hashmap iteration", "rest api status codes",
        "docker compose volumes", "binary search implementation", "segmentation fault core dumped",
        "css grid tutorial", "how to parse json",
    ),
    "sports": (
        "football results yesterday", "who won the world cup in 1998", "premier league table",
        "olympic games opening date", "offside rule explained", "nba standings", "tennis ranking women",
        "marathon world record", "formula one race schedule", "super bowl halftime performer", "cricket score live",
        "highest paid athlete", "transfer rumours", "tour de france stage winners", "how many players in rugby",
        "boxing match tonight", "chess opening theory", "golf handicap calculation", "who coached chicago in 1985",
        "swimming championships medals",
    ),
    "history": (
        "history of the roman empire", "causes of the french revolution", "who won the election in 1998",
        "when did the berlin wall fall", "king henry the eighth wives", "treaty of versailles terms",
        "who discovered penicillin", "ancient egypt timeline", "battle of hastings", "cold war summary",
        "industrial revolution effects", "who was the first president", "fall of constantinople",
        "meaning of the magna carta", "black death mortality", "civil rights movement leaders",
        "dates of world war one", "aztec civilization decline", "soviet union collapse",
        "who wrote the declaration of independence",
    ),
    "school": (
        "capital of france", "quadratic equation formula", "speed of light in vacuum", "distance earth moon",
        "population of brazil", "grammar rules subjunctive", "how deep is the pacific ocean",
        "convert kilometres into miles", "photosynthesis equation", "translate hello into japanese",
        "atomic number of iron", "what is a metaphor", "derivative of sine", "university entrance requirements",
        "nobel prize winners physics", "synonym of happy", "plural of octopus", "longest river in africa",
        "how many bones in the body", "second law of thermodynamics",
    ),
    "living": (
        "job vacancies accountant", "flat for rent oslo", "salary of a nurse", "opening hours city library",
        "theatre tickets vienna", "when does daylight saving begin", "date of easter 2031", "unemployment statistics",
        "lyrics of yesterday", "meaning of life philosophy", "recipe for lasagne", "phone number of the town hall",
        "movie showtimes tonight", "how to write a cover letter", "plumber emergency call out",
        "who is the mayor of this city", "apply for a parking permit", "reset my password", "where is my order",
        "restaurants open now",
    ),
}  # fmt: skip
DOMAINS = tuple(OFF_CATALOGUE)
