"""Job types of reports: fetch data, work out trends, draw charts, write the document."""
