// A browser does not let a page that was opened from a file read others: search then shows titles without texts.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
