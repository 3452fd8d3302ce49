"""report_page"""
