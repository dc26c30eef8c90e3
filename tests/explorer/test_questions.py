"""The explorer's questions: one answer of each is right, and the page says which."""

# Worked out by hand, in the order of the questions.
ANSWERS = [
    "They get flatter.", "They stay the same.", "It grows.", "log 3 = 1.0986", "By about 1",
    "Almost not at all", "0", "Only that of class 0", "It rises.", "It is multiplied by 3.", "5", "inf",
    "Of 2", "It falls below a half.",
]  # fmt: skip


def test_the_numbers_give_the_answers(shared):
    found = shared.evaluate(
        """explorer.QUESTIONS.map((question) => {
          const [before, after] = [explorer.explain(question.before), explorer.explain(question.after)];
          return question.answers.filter(([, holds]) => holds(before, after)).map(([word]) => word);
        })"""
    )
    assert found == [[answer] for answer in ANSWERS]


def test_a_question_is_answered_by_keyboard(visit):
    page = visit("#view=questions&question=2").page
    assert not page.is_visible("h4:has-text('After')")
    page.get_by_role("button", name="The largest grows.").focus()
    page.keyboard.press("Enter")
    assert "No: They stay the same." in page.inner_text("[aria-live]")
    assert page.is_visible("h4:has-text('After')")
    assert page.get_by_role("button", name="They stay the same.").inner_text().startswith("✓")
    page.get_by_role("button", name="They get flatter.").press("Enter")  # an answer is given once
    assert page.is_visible("text=So far 0 of 1 right.")
    page.get_by_role("button", name="Next").press("Enter")
    assert page.evaluate("document.activeElement.textContent").startswith("Question 3 of 14")
    page.wait_for_function("() => location.hash.includes('question=3')")
    page.click("text=It grows.")
    page.click("text=Open it in")
    assert page.get_by_role("textbox", name="logit of class 0").input_value() == "6"
