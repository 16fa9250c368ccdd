<?xml version="1.0"?>
<!-- A Mallard page as one block of text per line: its path of element names, a tab, the text. Pages whose paths are
     equal in two languages have the same structure, so their lines are translations of each other. -->
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"
                xmlns:m="http://projectmallard.org/1.0/">
  <xsl:output method="text" encoding="UTF-8"/>
  <xsl:template match="/">
    <xsl:for-each select="//m:title | //m:desc | //m:p">
      <xsl:for-each select="ancestor::*">
        <xsl:value-of select="concat(local-name(), '/')"/>
      </xsl:for-each>
      <xsl:value-of select="concat(local-name(), '&#9;', normalize-space(.), '&#10;')"/>
    </xsl:for-each>
  </xsl:template>
</xsl:stylesheet>
